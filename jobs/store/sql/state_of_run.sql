-- Whether a run that said running is alive, or has ended since: whoever works holds the guard's lock.
SELECT status <> 'running' OR EXISTS (
  SELECT FROM pg_locks
  WHERE locktype = 'advisory' AND granted AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = (hashtext('usage-jobs')::bigint & 4294967295)
    AND objid::bigint = (hashtext(%(schema)s)::bigint & 4294967295)
)
FROM {runs} WHERE run_id = %(run_id)s

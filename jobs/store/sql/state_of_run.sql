-- What has become of a run that said running: a run that is at work holds the run lock. A replica does not know the locks
-- of its primary, and believes what the row says.
SELECT CASE
  WHEN status <> 'running' OR pg_is_in_recovery() OR EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid::bigint = (hashtext('usage-jobs')::bigint & 4294967295)
      AND objid::bigint = (hashtext(%(schema)s)::bigint & 4294967295)
  ) THEN status ELSE 'crashed' END
FROM {runs} WHERE run_id = %(run_id)s

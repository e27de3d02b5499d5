-- name: lock_source
-- The table with the usage, or the tables behind a view, and whether each could be locked until COMMIT. It reads only
-- the catalog, which every role may read: missing privileges are reported later.
WITH RECURSIVE behind AS (
  SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = %(schema)s AND c.relname = 'usage_daily'
  UNION
  SELECT d.refobjid
  FROM behind AS b
  JOIN pg_class AS v ON v.oid = b.oid AND v.relkind IN ('v', 'm')
  JOIN pg_rewrite AS r ON r.ev_class = v.oid
  JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
)
SELECT c.oid::regclass::text AS name,
  pg_try_advisory_xact_lock(hashtext('usage-jobs source'), hashtext(c.oid::text)) AS is_locked
FROM (SELECT oid FROM behind ORDER BY oid) AS b JOIN pg_class AS c USING (oid) WHERE c.relkind NOT IN ('v', 'm')

-- name: check_ownership
-- The status of this run, locked. FOR SHARE: parallel batches do not wait for each other, but a transaction that marks
-- the run crashed waits for them.
SELECT status FROM {job.runs} WHERE run_id = %(run_id)s FOR SHARE

-- name: state_of_run
-- The status of a run: a running one without the run lock has crashed. A replica does not know the locks of its
-- primary, so there the stored status counts.
SELECT CASE
  WHEN status <> 'running' OR pg_is_in_recovery() OR EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND classid::bigint = (hashtext('usage-jobs')::bigint & 4294967295)
      AND objid::bigint = (hashtext(%(schema)s)::bigint & 4294967295)
  ) THEN status ELSE 'crashed' END
FROM {job.runs} WHERE run_id = %(run_id)s

-- name: end_silent
-- Terminates transactions of dead runs: their client has been silent for as long as a lock connection may be. They
-- would keep rows locked and server connections of a pool in use. A name ends in a token, which differs by connection.
SELECT pg_terminate_backend(pid, 5000)
FROM pg_stat_activity
WHERE left(application_name, -%(token)s) = %(name)s AND usename = current_user AND datname = current_database()
  AND state <> 'idle' AND wait_event_type = 'Client'
  AND state_change < clock_timestamp() - %(silence)s * interval '1 second'

-- name: end_lost
-- Terminates the session of a lost connection of ours. (Idle server connections of a pooler may have the same name.)
SELECT pg_terminate_backend(pid, 5000)
FROM pg_stat_activity
WHERE application_name = %s AND state <> 'idle' AND usename = current_user AND datname = current_database()
  AND pid <> pg_backend_pid()

-- name: lock_source
-- The table that holds the usage, or those that a view reads it from, and whether each could be locked until we commit. By
-- the catalog, which everybody may read: what privileges are missing is told later.
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
SELECT c.oid::regclass::text, pg_try_advisory_xact_lock(hashtext('usage-jobs source'), hashtext(c.oid::text))
FROM (SELECT oid FROM behind ORDER BY oid) AS b JOIN pg_class AS c USING (oid) WHERE c.relkind NOT IN ('v', 'm')

-- name: check_ownership
-- FOR SHARE: batches side by side do not wait for each other, but whoever marks the run crashed waits for them.
SELECT status FROM {runs} WHERE run_id = %s FOR SHARE

-- name: state_of_run
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

-- name: end_silent
-- Ends transactions of runs that are gone: their client has been silent for as long as a guard may be, and while they
-- last they keep rows locked and servers of a pool taken. A name ends in a token, by which runs differ.
SELECT pg_terminate_backend(pid, 5000)
FROM pg_stat_activity
WHERE left(application_name, -%(token)s) = %(name)s AND usename = current_user AND datname = current_database()
  AND state <> 'idle' AND wait_event_type = 'Client'
  AND state_change < clock_timestamp() - %(silence)s * interval '1 second'

-- name: end_lost
-- Ends what the server still does for a connection of ours that is lost; a pooler's idle servers keep names as well.
SELECT pg_terminate_backend(pid, 5000)
FROM pg_stat_activity
WHERE application_name = %s AND state <> 'idle' AND usename = current_user AND datname = current_database()
  AND pid <> pg_backend_pid()

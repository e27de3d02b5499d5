-- The run that holds the lock, as far as the log knows.
SELECT run_id, kind, started_at AT TIME ZONE 'UTC' FROM {runs} WHERE status = 'running' ORDER BY run_id DESC LIMIT 1

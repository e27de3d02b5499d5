-- The last finished run, and the settings and prices that it used.
SELECT run_id, inputs FROM {runs}
WHERE kind IN ('run', 'backfill') AND status = 'done'
ORDER BY run_id DESC LIMIT 1

-- What earlier runs left. A failed run that changed nothing has committed no day, and is no first run.
SELECT
  (SELECT window_to FROM {runs} WHERE kind = 'run' AND (status <> 'failed' OR rows_changed > 0)
   ORDER BY run_id LIMIT 1) AS first_run,
  (SELECT max(window_to) FROM {runs} WHERE kind IN ('run', 'backfill') AND (status <> 'failed' OR rows_changed > 0))
    AS furthest

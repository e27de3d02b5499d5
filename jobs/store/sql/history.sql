-- What earlier runs left. A run that died counts only if a batch of it has been committed: that is what a later run must
-- not un-count. A done run counts always.
WITH committed AS (
  SELECT run_id, kind, window_to FROM {runs} AS r
  WHERE kind IN ('run', 'backfill')
    AND (status = 'done' OR {wrote})
)
SELECT
  (SELECT window_to FROM committed WHERE kind = 'run' ORDER BY run_id LIMIT 1) AS first_run,
  (SELECT max(window_to) FROM committed) AS furthest

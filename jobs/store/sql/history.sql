-- What earlier runs left. A run that died counts only if a batch of it has been committed: that is what a later run must
-- not un-count. A done run counts always, but none of a clock that was ahead.
WITH committed AS (
  SELECT run_id, kind, coalesce(covered_to, window_to) AS covered_to FROM {runs} AS r
  WHERE kind IN ('run', 'backfill') AND window_to < %(today)s
    AND (status = 'done' OR {wrote})
)
SELECT
  (SELECT covered_to FROM committed WHERE kind = 'run' ORDER BY run_id LIMIT 1) AS first_run,
  (SELECT max(covered_to) FROM committed) AS furthest

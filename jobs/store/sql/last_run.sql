-- The newest run, and whether it has written anything.
SELECT run_id, kind, window_from, window_to, status, {wrote} AS wrote
FROM {runs} AS r WHERE kind IN ('run', 'backfill') ORDER BY run_id DESC LIMIT 1

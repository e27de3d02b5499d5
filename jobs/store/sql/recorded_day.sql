-- The furthest last day that a run has recorded, finished or not.
SELECT max(window_to) FROM {runs} WHERE kind IN ('run', 'backfill')

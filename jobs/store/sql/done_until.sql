-- How far runs have come that came to their end.
SELECT max(window_to) FROM {runs} WHERE kind IN ('run', 'backfill') AND status = 'done'

-- How far runs have come that came to their end; without those of a clock that was ahead.
SELECT max(coalesce(covered_to, window_to)) FROM {runs}
WHERE kind IN ('run', 'backfill') AND status = 'done' AND window_to < %(today)s

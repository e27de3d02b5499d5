-- Rows that belong to no day: found by one statement a run, because a read by days never meets them.
SELECT id FROM {usage} WHERE date IS NULL OR NOT isfinite(date)

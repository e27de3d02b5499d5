-- Rows that belong to no day: found by one statement a run, because a read by days never meets them. In words that an
-- index on date understands.
SELECT id FROM {usage} WHERE date IS NULL OR date = 'infinity' OR date = '-infinity'

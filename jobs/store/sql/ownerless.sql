-- Rows without a day, and on the days in question without a user: read by nobody, because a read is by user and day.
-- In words that indexes on date, and on user and date, understand.
SELECT id FROM {usage} WHERE date IS NULL OR date = 'infinity' OR date = '-infinity'
UNION ALL
SELECT id FROM {usage} WHERE user_id IS NULL AND isfinite(date) AND {days}

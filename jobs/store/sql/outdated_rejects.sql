-- Rejects on the days in question whose row is no longer what is kept of it: a NaN that became Infinity has the same hash.
SELECT r.usage_daily_id::text FROM {rejects} AS r JOIN {usage} AS u ON u.id = r.usage_daily_id
WHERE {days} AND u.user_id = r.row->>'user_id' AND u.date::text = r.row->>'date'
  AND r.row IS DISTINCT FROM {row}

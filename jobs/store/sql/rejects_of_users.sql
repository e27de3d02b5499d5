-- Rejects of some users on the days in question, and of some rows whoever they were of. A row that has another user now, on
-- a day in question, is his.
SELECT r.usage_daily_id::text, coalesce(u.user_id, r.row->>'user_id'), concat_ws(' ', r.reason, r.row)
FROM {rejects} AS r LEFT JOIN {usage} AS u ON u.id = r.usage_daily_id AND {days}
WHERE r.usage_daily_id = ANY(%(ids)s::uuid[])
   OR u.user_id = ANY({users})
   OR u.user_id IS NULL AND r.row->>'user_id' = ANY({users}) AND EXISTS (
     SELECT FROM unnest(%(firsts)s::text[], %(lasts)s::text[]) AS s(first, last)
     WHERE r.row->>'date' BETWEEN s.first AND s.last)

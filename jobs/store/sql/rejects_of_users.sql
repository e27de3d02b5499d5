-- Rejects of some users on the days in question, and of some rows whoever they were of.
SELECT r.usage_daily_id::text, r.row->>'user_id', concat_ws(' ', r.reason, r.row)
FROM {rejects} AS r
WHERE r.usage_daily_id = ANY(%(ids)s::uuid[])
   OR r.row->>'user_id' = ANY({users}) AND EXISTS (
     SELECT FROM unnest(%(firsts)s::text[], %(lasts)s::text[]) AS s(first, last)
     WHERE r.row->>'date' BETWEEN s.first AND s.last)

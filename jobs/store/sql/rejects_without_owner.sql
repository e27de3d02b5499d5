-- Rejects of rows that had no user or no day, of rows that have moved to a user and a day in question since, and of
-- rows that are to be described again; with the user that the row has now.
SELECT r.usage_daily_id::text, coalesce(u.user_id, r.row->>'user_id'), concat_ws(' ', r.reason, r.row)
FROM {rejects} AS r LEFT JOIN {usage} AS u ON u.id = r.usage_daily_id
WHERE r.usage_daily_id = ANY(%(ids)s::uuid[])
   OR coalesce(r.row->>'date', 'infinity') IN ('infinity', '-infinity')
   OR r.row->>'user_id' IS NULL AND EXISTS (
     SELECT FROM unnest(%(firsts)s::date[], %(lasts)s::date[]) AS s(first, last)
     WHERE r.row->>'date' BETWEEN s.first::text AND s.last::text)
   OR u.user_id IS NOT NULL
     AND (u.user_id IS DISTINCT FROM r.row->>'user_id' OR u.date::text IS DISTINCT FROM r.row->>'date')
     AND EXISTS (
       SELECT FROM unnest(%(firsts)s::date[], %(lasts)s::date[]) AS s(first, last)
       WHERE u.date BETWEEN s.first AND s.last)

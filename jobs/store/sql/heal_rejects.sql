-- Healed rows leave: those on the days of this run, or on no day, that are not rejected now, and those that have moved
-- to a day of this run. A reject of a closed month stays until a backfill.
DELETE FROM {rejects} AS r
USING unnest(%(firsts)s::text[], %(lasts)s::text[]) AS s(first, last)
WHERE r.usage_daily_id <> ALL(%(ids)s::uuid[])
  AND (coalesce(r.row->>'date', 'infinity') IN ('infinity', '-infinity')
       OR r.row->>'date' BETWEEN s.first AND s.last
       OR EXISTS (SELECT FROM {usage} AS u
                  WHERE u.id = r.usage_daily_id AND u.date BETWEEN s.first::date AND s.last::date))
RETURNING r.usage_daily_id::text, r.row->>'user_id', concat_ws(' ', r.reason, r.row)

-- Healed rows leave: those on the days of this run, or on no day, that are not rejected now, and those that this run
-- priced under another day. A reject of a closed month stays until a backfill.
DELETE FROM {rejects}
WHERE usage_daily_id <> ALL(%(ids)s::uuid[])
  AND (coalesce(row->>'date', '') = ANY('{{"",infinity,-infinity}}'::text[])
       OR EXISTS (SELECT FROM unnest(%(firsts)s::text[], %(lasts)s::text[]) AS s(first, last)
                  WHERE row->>'date' BETWEEN s.first AND s.last))

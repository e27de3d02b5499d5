SELECT r.id, r.user_id, coalesce(r.credits_deducted, 0)::numeric AS deducted,
  coalesce((SELECT sum(d.free + d.purchased) FROM {draws} AS d
            WHERE d.usage_daily_id = r.id AND d.user_id = r.user_id), 0) AS drawn
FROM {usage} AS r JOIN unnest(%(ids)s::uuid[], %(users)s::text[]) AS s(id, user_id) ON r.id = s.id
WHERE r.user_id IS NULL OR r.user_id = s.user_id OR r.id = ANY(%(bad)s::uuid[])
   OR NOT EXISTS (SELECT FROM unnest(%(firsts)s::date[], %(lasts)s::date[]) AS w(first, last)
                  WHERE r.date BETWEEN w.first AND w.last)

-- last_seen moves only when the row does: a reject that stays the same is not written.
INSERT INTO {rejects} AS r (usage_daily_id, reason, row)
SELECT * FROM unnest(%(ids)s::uuid[], %(reasons)s::text[], %(rows)s::jsonb[])
ON CONFLICT (usage_daily_id) DO UPDATE SET reason = EXCLUDED.reason, row = EXCLUDED.row, last_seen = now()
WHERE (r.reason, r.row) IS DISTINCT FROM (EXCLUDED.reason, EXCLUDED.row)

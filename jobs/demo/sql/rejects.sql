-- Rows that could not be priced.
SELECT left(usage_daily_id::text, 8) AS row, row->>'user_id' AS user_id, reason FROM rollup.rejects ORDER BY reason LIMIT 20

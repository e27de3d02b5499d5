-- The months that runs have covered. Where their currency was not kept here yet, it is that of their users' rows.
SELECT month, cost_mode, closed_at IS NOT NULL AS closed, coalesce(row_count, 0) AS row_count, usage_hash,
  rates_hash, total_cost, fingerprint,
  coalesce(currency, (SELECT u.currency FROM {user_monthly} AS u WHERE u.month = m.month LIMIT 1)) AS currency
FROM {months} AS m WHERE {is_covered}

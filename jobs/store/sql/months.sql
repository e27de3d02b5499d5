-- The months that runs have covered.
SELECT month, cost_mode, closed_at IS NOT NULL AS closed, coalesce(row_count, 0) AS row_count, usage_hash,
  rates_hash, total_cost, fingerprint
FROM {months}

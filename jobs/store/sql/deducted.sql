SELECT id, user_id, date, hopsworks_cluster_id, round(credits_deducted::numeric, 10) AS credits_deducted
FROM {usage}
WHERE credits_deducted <> 0 AND credits_deducted::numeric NOT IN ('NaN', 'Infinity', '-Infinity')
  AND user_id IS NOT NULL AND isfinite(date)

-- What another program has drawn, of rows with a user and a day; a day that no calendar of ours has is none.
SELECT id, user_id, date, hopsworks_cluster_id, round(credits_deducted::numeric, 10) AS credits_deducted
FROM {usage}
WHERE credits_deducted <> 0 AND credits_deducted::numeric NOT IN ('NaN', 'Infinity', '-Infinity')
  AND user_id IS NOT NULL AND date BETWEEN '0001-01-01' AND '9999-12-31'

-- As draws of revision 0, in row order: free credits until those used are exhausted, then purchased ones.
INSERT INTO {draws} (usage_daily_id, user_id, revision, usage_date, free, purchased, run_id)
SELECT id, user_id, 0, date, free, credits_deducted - free, %(run_id)s
FROM (
  SELECT u.*, least(running, used) - least(running - credits_deducted, used) AS free
  FROM (
    SELECT u.*, coalesce({free_used}, 0) AS used,
      sum(credits_deducted) OVER (PARTITION BY u.user_id
        ORDER BY date, hopsworks_cluster_id NULLS LAST, u.id ROWS UNBOUNDED PRECEDING) AS running
    FROM ({deducted}) AS u LEFT JOIN {accounts} AS a ON a.user_id = u.user_id
  ) AS u
) AS u
ORDER BY user_id, date, id

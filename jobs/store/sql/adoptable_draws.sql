(
  SELECT id AS usage_daily_id, user_id, 0 AS revision, date AS usage_date, free, credits_deducted - free AS purchased,
    true AS imported
  FROM (
    SELECT u.*, least(running, used) - least(running - credits_deducted, used) AS free
    FROM (
      SELECT u.*, coalesce({free_used}, 0) AS used,
        sum(credits_deducted) OVER (PARTITION BY u.user_id
          ORDER BY date, hopsworks_cluster_id NULLS LAST, u.id ROWS UNBOUNDED PRECEDING) AS running
      FROM ({deducted}) AS u LEFT JOIN {accounts} AS a ON a.user_id = u.user_id
    ) AS u
  ) AS u
) AS d

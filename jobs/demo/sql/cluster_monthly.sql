-- The months of each cluster.
SELECT to_char(month, 'YYYY-MM') AS month, coalesce(cluster_name, cluster_id::text, '(no cluster)') AS cluster,
  active_users, max_users, round(total_cost, 4) AS total_cost, round(cost_per_user, 4) AS per_user
FROM rollup.cluster_monthly ORDER BY rollup.cluster_monthly.month, rollup.cluster_monthly.total_cost DESC LIMIT 20

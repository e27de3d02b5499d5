-- Invariant 1: cluster_monthly is a GROUP BY of user_daily. Months with a day that is not regrouped yet are left out.
SELECT to_char(coalesce(d.month, c.month), 'YYYY-MM') || ' ' || coalesce(d.cluster_id, c.cluster_id, 'none') AS key,
  coalesce(d.total_cost, 0) AS left_,
  coalesce(c.total_cost, 0) AS right_,
  {difference} AS difference
FROM (
  SELECT date_trunc('month', date)::date AS month, cluster_id::text AS cluster_id, count(DISTINCT user_id) AS users, {sums}
  FROM {user_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT month, cluster_id::text AS cluster_id, active_users, {columns} FROM {cluster_monthly}
  WHERE month BETWEEN %(first)s AND %(last)s
) AS c ON c.month = d.month AND coalesce(c.cluster_id, '') = coalesce(d.cluster_id, '')
WHERE coalesce(d.month, c.month) NOT IN (SELECT date_trunc('month', date)::date FROM {touched_days})
  AND EXISTS (SELECT FROM {months} AS k WHERE k.month = coalesce(d.month, c.month) AND k.fingerprint IS NOT NULL)

-- Invariant 1: cluster_daily is a GROUP BY of user_daily. Days that a run has touched and not regrouped yet are left out.
SELECT coalesce(d.date, c.date) || ' ' || coalesce(d.cluster_id, c.cluster_id, 'none') AS key,
  coalesce(d.total_cost, 0) AS left_,
  coalesce(c.total_cost, 0) AS right_,
  {difference} AS difference
FROM (
  SELECT date, cluster_id::text AS cluster_id, count(*) AS users, {sums} FROM {user_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT date, cluster_id::text AS cluster_id, users, {columns} FROM {cluster_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day'
) AS c ON c.date = d.date AND coalesce(c.cluster_id, '') = coalesce(d.cluster_id, '')
WHERE coalesce(d.date, c.date) NOT IN (SELECT date FROM {touched_days})
  AND EXISTS (SELECT FROM {months} AS k
              WHERE k.month = date_trunc('month', coalesce(d.date, c.date))::date AND k.fingerprint IS NOT NULL)

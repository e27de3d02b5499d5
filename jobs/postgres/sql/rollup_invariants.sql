-- name: cluster_days
-- Invariant 1: cluster_daily is a GROUP BY of user_daily. Days that are not regrouped yet are left out.
SELECT coalesce(d.date, s.date) || ' ' || coalesce(d.cluster_id, s.cluster_id, 'none') AS key,
  coalesce(d.total_cost, 0) AS left_,
  coalesce(s.total_cost, 0) AS right_,
  {difference} AS difference
FROM (
  SELECT date, cluster_id::text AS cluster_id, count(*) AS users, {sums} FROM {job.user_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT date, cluster_id::text AS cluster_id, users, {columns} FROM {job.cluster_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day'
) AS s ON s.date = d.date AND coalesce(s.cluster_id, '') = coalesce(d.cluster_id, '')
WHERE coalesce(d.date, s.date) NOT IN (SELECT date FROM {job.touched_days})
  AND EXISTS (SELECT FROM {job.months} AS k
              WHERE k.month = date_trunc('month', coalesce(d.date, s.date))::date AND k.fingerprint IS NOT NULL)

-- name: cluster_months
-- Invariant 1: cluster_monthly is a GROUP BY of user_daily. Months with a day that is not regrouped yet are left out.
SELECT to_char(coalesce(d.month, s.month), 'YYYY-MM') || ' ' || coalesce(d.cluster_id, s.cluster_id, 'none') AS key,
  coalesce(d.total_cost, 0) AS left_,
  coalesce(s.total_cost, 0) AS right_,
  {difference} AS difference
FROM (
  SELECT date_trunc('month', date)::date AS month, cluster_id::text AS cluster_id, count(DISTINCT user_id) AS users,
    {sums}
  FROM {job.user_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT month, cluster_id::text AS cluster_id, active_users, {columns} FROM {job.cluster_monthly}
  WHERE month BETWEEN %(first)s AND %(last)s
) AS s ON s.month = d.month AND coalesce(s.cluster_id, '') = coalesce(d.cluster_id, '')
WHERE coalesce(d.month, s.month) NOT IN (SELECT date_trunc('month', date)::date FROM {job.touched_days})
  AND EXISTS (SELECT FROM {job.months} AS k WHERE k.month = coalesce(d.month, s.month) AND k.fingerprint IS NOT NULL)

-- name: clusters
-- Invariant 1: each amount by user = by cluster and month, or by cluster and day. One row per month and column. Months
-- with a day that is not regrouped yet are left out.
SELECT to_char(month, 'YYYY-MM') || ' ' || name AS key,
  coalesce(sum(amount) FILTER (WHERE summed_by = 'user'), 0) AS left_,
  coalesce(sum(amount) FILTER (WHERE summed_by = {by}), 0) AS right_
FROM (
  SELECT 'user' AS summed_by, month, {sums} FROM {job.user_monthly}
  WHERE month BETWEEN %(first)s AND %(last)s GROUP BY month
  UNION ALL
  SELECT 'month', month, {sums} FROM {job.cluster_monthly} WHERE month BETWEEN %(first)s AND %(last)s GROUP BY month
  UNION ALL
  SELECT 'day', date_trunc('month', date)::date, {sums} FROM {job.cluster_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 2
) AS s CROSS JOIN LATERAL (VALUES {amounts}) AS v(name, amount)
WHERE month NOT IN (SELECT date_trunc('month', date)::date FROM {job.touched_days})
GROUP BY month, name

-- name: months
-- Invariant 1: the cost of a month in rollup.months = the sum of its users. Months with a day that is not regrouped yet
-- are left out: a run writes both at its end.
SELECT to_char(m.month, 'YYYY-MM') AS key, m.total_cost AS left_,
  coalesce((SELECT sum(u.total_cost) FROM {job.user_monthly} AS u WHERE u.month = m.month), 0) AS right_
FROM {job.months} AS m WHERE m.month BETWEEN %(first)s AND %(last)s AND m.total_cost IS NOT NULL
  AND m.month NOT IN (SELECT date_trunc('month', date)::date FROM {job.touched_days})

-- name: user_days
-- Invariant 1: user_monthly is a GROUP BY of user_daily. Months of the first version, which had no user_daily, are left
-- out.
SELECT coalesce(d.user_id, s.user_id) || ' ' || to_char(coalesce(d.month, s.month), 'YYYY-MM') AS key,
  coalesce(d.total_cost, 0) AS left_,
  coalesce(s.total_cost, 0) AS right_,
  {difference} AS difference
FROM (
  SELECT user_id, date_trunc('month', date)::date AS month, {sums} FROM {job.user_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1, 2
) AS d
FULL JOIN (SELECT user_id, month, {columns} FROM {job.user_monthly} WHERE month BETWEEN %(first)s AND %(last)s) AS s
  ON s.user_id = d.user_id AND s.month = d.month
WHERE EXISTS (SELECT FROM {job.months} AS k WHERE k.month = coalesce(d.month, s.month) AND k.fingerprint IS NOT NULL)

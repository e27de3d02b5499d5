-- name: cluster_days
-- Invariant 1: cluster_daily is a GROUP BY of user_daily. Days that are not regrouped yet are left out.
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

-- name: cluster_months
-- Invariant 1: cluster_monthly is a GROUP BY of user_daily. Months with a day that is not regrouped yet are left out.
SELECT to_char(coalesce(d.month, c.month), 'YYYY-MM') || ' ' || coalesce(d.cluster_id, c.cluster_id, 'none') AS key,
  coalesce(d.total_cost, 0) AS left_,
  coalesce(c.total_cost, 0) AS right_,
  {difference} AS difference
FROM (
  SELECT date_trunc('month', date)::date AS month, cluster_id::text AS cluster_id, count(DISTINCT user_id) AS users,
    {sums}
  FROM {user_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT month, cluster_id::text AS cluster_id, active_users, {columns} FROM {cluster_monthly}
  WHERE month BETWEEN %(first)s AND %(last)s
) AS c ON c.month = d.month AND coalesce(c.cluster_id, '') = coalesce(d.cluster_id, '')
WHERE coalesce(d.month, c.month) NOT IN (SELECT date_trunc('month', date)::date FROM {touched_days})
  AND EXISTS (SELECT FROM {months} AS k WHERE k.month = coalesce(d.month, c.month) AND k.fingerprint IS NOT NULL)

-- name: clusters
-- Invariant 1: each amount by user = by cluster and month = by cluster and day. One row per month and column. Months
-- with a day that is not regrouped yet are left out.
SELECT to_char(month, 'YYYY-MM') || ' ' || name AS key, users AS left_, {which} AS right_ FROM (
  SELECT month, name, sum(users) AS users, sum(months) AS months, sum(days) AS days FROM ({sums}) AS s
  GROUP BY month, name
) AS s
WHERE month NOT IN (SELECT date_trunc('month', date)::date FROM {touched_days})

-- name: months
-- Invariant 1: the cost of a month in rollup.months = the sum of its users. Months with a day that is not regrouped yet
-- are left out: a run writes both at its end.
SELECT to_char(m.month, 'YYYY-MM') AS key, m.total_cost AS left_,
  coalesce((SELECT sum(u.total_cost) FROM {user_monthly} AS u WHERE u.month = m.month), 0) AS right_
FROM {months} AS m WHERE m.month BETWEEN %(first)s AND %(last)s AND m.total_cost IS NOT NULL
  AND m.month NOT IN (SELECT date_trunc('month', date)::date FROM {touched_days})

-- name: sum
-- Sums of some columns of one roll-up by month, as rows (month, column name, sum).
SELECT s.month, v.name, {users} AS users, {months} AS months, {days} AS days
FROM (
  SELECT date_trunc('month', {day})::date AS month, {sums} FROM {table}
  WHERE {day} BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1
) AS s CROSS JOIN LATERAL (VALUES {amounts}) AS v(name, amount)

-- name: user_days
-- Invariant 1: user_monthly is a GROUP BY of user_daily. Months of the first edition, which had no user_daily, are left
-- out.
SELECT coalesce(d.user_id, m.user_id) || ' ' || to_char(coalesce(d.month, m.month), 'YYYY-MM') AS key,
  coalesce(d.total_cost, 0) AS left_,
  coalesce(m.total_cost, 0) AS right_,
  {difference} AS difference
FROM (
  SELECT user_id, date_trunc('month', date)::date AS month, {sums} FROM {user_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1, 2
) AS d
FULL JOIN (SELECT user_id, month, {columns} FROM {user_monthly} WHERE month BETWEEN %(first)s AND %(last)s) AS m
  ON m.user_id = d.user_id AND m.month = d.month
WHERE EXISTS (SELECT FROM {months} AS k WHERE k.month = coalesce(d.month, m.month) AND k.fingerprint IS NOT NULL)

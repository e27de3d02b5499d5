-- The rows of exports. `month` is the first day of a month, `filter` a condition on users and clusters.

-- name: export
-- The rows of one month in order: those of a query below, with the billing mode and names beside their ids.
SELECT {columns}
FROM ({rows}) AS g {joins}
ORDER BY {key}

-- name: count
-- How many rows an export of one month has.
SELECT count(*) FROM ({rows}) AS g

-- name: billing_mode
-- How the user pays in this month: mixed where it changed.
LEFT JOIN {job.user_monthly} AS m ON m.month = {month} AND m.user_id = g.user_id

-- name: cluster_name
-- The cluster's name as the job has stored it, so that the file of a closed month stays the same.
LEFT JOIN {job.cluster_monthly} AS c ON c.month = {month} AND c.cluster_id = g.cluster_id

-- name: user
-- One row per user. corrections: how often the month was corrected after it had closed.
SELECT {stored}, coalesce(c.corrections, 0) AS corrections
FROM {job.user_monthly} AS u LEFT JOIN (
  SELECT user_id, count(*) AS corrections FROM {job.corrections} WHERE month = {month} GROUP BY user_id
) AS c ON c.user_id = u.user_id
WHERE u.month = {month} AND {filter}

-- name: cluster
-- One row per cluster.
SELECT {stored} FROM {job.cluster_monthly} AS u WHERE u.month = {month} AND {filter}

-- name: user_cluster
-- One row per user and cluster. days: days with usage there.
SELECT {month} AS month, u.user_id, u.cluster_id, count(*) AS days, {sums}
FROM {job.user_daily} AS u WHERE u.date BETWEEN {month} AND {last_day} AND {filter}
GROUP BY u.user_id, u.cluster_id

-- name: day
-- One row per day. users: distinct users with usage.
SELECT u.date, count(DISTINCT u.user_id) AS users, {sums}
FROM {job.user_daily} AS u WHERE u.date BETWEEN {month} AND {last_day} AND {filter}
GROUP BY u.date

-- name: user_day
-- One row per user and day.
SELECT u.date, u.user_id, {sums}
FROM {job.user_daily} AS u WHERE u.date BETWEEN {month} AND {last_day} AND {filter}
GROUP BY u.date, u.user_id

-- name: gb_months
-- A level in GB-months: its sum over days, in units of 10^-10, divided by the days of the month and rounded half to
-- even, as in user_monthly. (round() would round half up.)
(div({units}, {days}) + CASE WHEN 2 * mod({units}, {days}) + mod(div({units}, {days}), 2) > {days} THEN 1 ELSE 0 END)
  * 0.0000000001

-- name: correction
-- One row per user and run that corrected the closed month.
SELECT u.month, u.user_id, u.run_id, r.finished_at AS corrected_at, u.cause, u.reason,
  u.new_total - u.old_total AS change, u.old_total, u.new_total, u.old_credits_deducted, u.new_credits_deducted,
  u.old_uncovered, u.new_uncovered, u.old_amount_due, u.new_amount_due, u.old_amount_reported, u.new_amount_reported
FROM {job.corrections} AS u LEFT JOIN {job.runs} AS r ON r.run_id = u.run_id
WHERE u.month = {month} AND {filter}

-- name: draw
-- One row per ledger entry for usage of this month.
SELECT u.usage_date AS date, u.user_id, u.usage_daily_id, u.revision, u.free, u.purchased,
  u.free + u.purchased AS drawn, u.imported, u.run_id, u.posted_at
FROM {job.credit_draws} AS u WHERE u.usage_date BETWEEN {month} AND {last_day} AND {filter}

-- name: months_without_days
-- Months of which user_daily has less than user_monthly: they were closed before user_daily was kept.
SELECT u.month FROM (
  SELECT month, sum(total_cost) AS total FROM {job.user_monthly} WHERE month = ANY(%(months)s) GROUP BY month
) AS u LEFT JOIN (
  SELECT date_trunc('month', date)::date AS month, sum(total_cost) AS total FROM {job.user_daily}
  WHERE date BETWEEN %(first)s AND %(last_day)s GROUP BY 1
) AS d ON d.month = u.month
WHERE u.total IS DISTINCT FROM coalesce(d.total, 0)
ORDER BY u.month

-- name: users_without_usage
-- Those of some users who have no row in these months.
SELECT w.id FROM unnest(%(ids)s::text[]) AS w(id)
WHERE NOT EXISTS (SELECT FROM {job.user_monthly} AS u WHERE u.user_id = w.id AND u.month = ANY(%(months)s))
ORDER BY w.id

-- name: clusters_without_usage
-- Those of some clusters that have no row in these months.
SELECT w.id FROM unnest(%(ids)s::uuid[]) AS w(id)
WHERE NOT EXISTS (
  SELECT FROM {job.cluster_monthly} AS u WHERE u.cluster_id IS NOT DISTINCT FROM w.id AND u.month = ANY(%(months)s))
ORDER BY w.id

-- name: has_touched_days
-- Whether a run that died has left days that the cluster tables do not have yet.
SELECT EXISTS (SELECT FROM {job.touched_days} WHERE date BETWEEN %(first)s AND %(last_day)s)

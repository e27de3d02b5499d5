-- The operator's report of a month: every figure is one of the job's own tables. {month} and {before}: the months.

-- name: closed_at
-- When a month was closed, and by which run; null where it is open.
SELECT closed_at AT TIME ZONE 'UTC' AS closed_at, CASE WHEN closed_at IS NOT NULL THEN closed_by END AS closed_by
FROM {job.months} WHERE month = %(month)s

-- name: billing_modes
-- What the users of each billing mode cost, and how that is paid.
SELECT coalesce(billing_mode, 'unknown') AS billing_mode, count(*) AS users,
  coalesce(sum(row_count), 0)::bigint AS row_count, {sums},
  count(*) FILTER (WHERE uncovered > 0) AS users_ran_out
FROM {job.user_monthly} WHERE month = %(month)s GROUP BY 1 ORDER BY total_cost DESC, 1

-- name: month_cost
-- The cost of all users of a month; null where there are none.
SELECT sum(total_cost) AS total_cost FROM {job.user_monthly} WHERE month = %(month)s

-- name: day_costs
-- Cost and draws by day and cluster. The table is user_daily, which is right at every moment, or cluster_daily,
-- which also has the months that were closed before there was user_daily.
SELECT date, cluster_id::text AS cluster_id, sum(total_cost) AS total_cost, sum(credits_deducted) AS credits_deducted
FROM {table} WHERE date BETWEEN %(first)s AND %(last)s GROUP BY date, cluster_id ORDER BY date, cluster_id

-- name: cluster_names
-- The newest stored name of each cluster of two months, and how many users it had in the later one.
SELECT DISTINCT ON (cluster_id) cluster_id::text AS cluster_id, cluster_name AS name,
  CASE WHEN month = %(month)s THEN active_users ELSE 0 END AS users
FROM {job.cluster_monthly} WHERE month IN (%(month)s, %(before)s) ORDER BY cluster_id, month DESC

-- name: movers
-- Users whose cost differs most from the month before; the part has user_id and total_cost of that month.
SELECT user_id, coalesce(n.total_cost, 0) AS cost, coalesce(b.total_cost, 0) AS cost_before
FROM (SELECT user_id, total_cost FROM {job.user_monthly} WHERE month = %(month)s) AS n
FULL JOIN ({costs_before}) AS b USING (user_id)
WHERE coalesce(n.total_cost, 0) <> coalesce(b.total_cost, 0)
ORDER BY abs(coalesce(n.total_cost, 0) - coalesce(b.total_cost, 0)) DESC, user_id LIMIT %(most)s

-- name: whole_month
-- The cost of each user in a whole month.
SELECT user_id, total_cost FROM {job.user_monthly} WHERE month = %(before)s

-- name: first_days
-- The cost of each user on the first days of a month.
SELECT user_id, sum(total_cost) AS total_cost FROM {job.user_daily}
WHERE date BETWEEN %(before)s AND %(last_before)s GROUP BY user_id

-- name: top_users
-- The users with the highest cost.
SELECT user_id, coalesce(billing_mode, 'unknown') AS billing_mode, total_cost, credits_deducted,
  coalesce(uncovered, 0) AS uncovered, coalesce(amount_due, 0) AS amount_due
FROM {job.user_monthly} WHERE month = %(month)s ORDER BY total_cost DESC, user_id LIMIT %(most)s

-- name: ran_out
-- The users with the highest uncovered cost: prepaid usage that no credit pays for.
SELECT user_id, total_cost, credits_deducted, uncovered
FROM {job.user_monthly} WHERE month = %(month)s AND uncovered > 0 ORDER BY uncovered DESC, user_id LIMIT %(most)s

-- name: rejects
-- Usage rows of the month that were not priced, and rows without a day, by reason, with their first ids.
SELECT reason, count(*) AS rows, (array_agg(usage_daily_id::text ORDER BY usage_daily_id))[1:%(most)s] AS first_ids
FROM {job.rejects} AS r
WHERE coalesce(r.row->>'date', 'infinity') IN ('infinity', '-infinity')
   OR r.row->>'date' BETWEEN %(first)s::text AND %(last)s::text
GROUP BY reason ORDER BY rows DESC, reason

-- name: correction_sums
-- How many corrections the month has, of how many users, and how they change its cost.
SELECT count(*) AS corrections, count(DISTINCT user_id) AS users,
  coalesce(sum(coalesce(new_total, 0) - coalesce(old_total, 0)), 0) AS change
FROM {job.corrections} WHERE month = %(month)s

-- name: corrections
-- The corrections of the month that change most.
SELECT c.user_id, coalesce(c.old_total, 0) AS old_total, coalesce(c.new_total, 0) AS new_total, c.cause, c.reason,
  c.run_id, r.started_at AT TIME ZONE 'UTC' AS corrected_at
FROM {job.corrections} AS c LEFT JOIN {job.runs} AS r USING (run_id)
WHERE c.month = %(month)s
ORDER BY abs(coalesce(c.new_total, 0) - coalesce(c.old_total, 0)) DESC, c.run_id, c.user_id LIMIT %(most)s

-- name: debts
-- What prepaid users owed for each closed month when it closed, and what became of it.
SELECT m.month, coalesce(m.currency, (SELECT u.currency FROM {job.user_monthly} AS u WHERE u.month = m.month LIMIT 1))
    AS currency,
  count(DISTINCT d.user_id) AS users, sum(d.amount) AS amount, sum(d.settled) AS settled,
  sum(d.written_off) AS written_off, sum(d.amount - d.settled - d.written_off) AS open
FROM {job.debts} AS d
JOIN {job.months} AS m ON m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL
GROUP BY m.month, m.currency HAVING sum(d.amount - d.settled - d.written_off) <> 0 OR m.month = %(month)s
ORDER BY m.month DESC

-- name: set_aside
-- The users of whom nothing is written until a person decides.
SELECT user_id, since AT TIME ZONE 'UTC' AS since, reason, run_id FROM {job.set_aside}
ORDER BY since, user_id LIMIT %(most)s

-- name: set_aside_count
-- How many users are set aside.
SELECT count(*) FROM {job.set_aside}

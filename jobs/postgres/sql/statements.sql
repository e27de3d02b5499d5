-- name: entries
-- What was added to the accounts of some users in a month, entry by entry; and what was taken, by the month of the usage
-- and by kind of credit, where our own transactions say so (null: not known).
SELECT user_id, kind, day, usage_month, sum(amount) AS amount, sum(free) AS free, sum(purchased) AS purchased
FROM (
  SELECT user_id, type::text AS kind, amount::numeric AS amount, t.created_at,
    CASE WHEN type::text <> 'usage' THEN (t.created_at AT TIME ZONE 'UTC')::date END AS day,
    CASE WHEN type::text <> 'usage' THEN row_number() OVER (PARTITION BY user_id ORDER BY t.created_at, amount) END AS number,
    CASE WHEN {ours} THEN date_trunc('month', coalesce(t.metadata->>'usage_date', t.metadata->>'month')::date)::date END
      AS usage_month,
    CASE WHEN {ours} THEN (t.metadata->>'free')::numeric END AS free,
    CASE WHEN {ours} THEN (t.metadata->>'purchased')::numeric END AS purchased
  FROM {app.credit_transactions} AS t
  WHERE t.user_id = ANY(%(users)s) AND t.created_at >= %(first)s AND t.created_at < %(next)s
) AS e
GROUP BY user_id, kind, day, usage_month, number, free IS NULL
ORDER BY user_id, min(created_at), number

-- name: balances
-- By user the sum of the entries of a month, and the balances that the entries themselves state: before and after the
-- newest moment that lies before the month, before the first moment in it, and after the last one in it. One moment may
-- have several entries.
SELECT user_id, coalesce(sum(amount) FILTER (WHERE is_in), 0) AS amount,
  array_agg(balance_before) FILTER (WHERE created_at = newest) AS earlier_before,
  array_agg(balance_after) FILTER (WHERE created_at = newest) AS earlier_after,
  array_agg(balance_before) FILTER (WHERE created_at = first) AS first_before,
  array_agg(balance_after) FILTER (WHERE created_at = last) AS last_after
FROM (
  SELECT user_id, amount::numeric AS amount, balance_before::numeric AS balance_before,
    balance_after::numeric AS balance_after, created_at, created_at >= %(first)s AS is_in,
    max(created_at) FILTER (WHERE created_at < %(first)s) OVER of_user AS newest,
    min(created_at) FILTER (WHERE created_at >= %(first)s) OVER of_user AS first,
    max(created_at) FILTER (WHERE created_at >= %(first)s) OVER of_user AS last
  FROM {app.credit_transactions}
  WHERE user_id = ANY(%(users)s) AND created_at < %(next)s
  WINDOW of_user AS (PARTITION BY user_id)
) AS e
GROUP BY user_id

-- name: late_draws
-- By user the credits that were taken for usage of a month after the month had ended.
SELECT user_id, sum(free + purchased) AS amount FROM {job.credit_draws}
WHERE user_id = ANY(%(users)s) AND usage_date >= %(first)s::date AND usage_date < %(next)s::date
  AND posted_at >= %(next)s AND NOT imported
GROUP BY user_id

-- name: corrections
-- Corrections of the closed month itself, and those of earlier months that were made in the month, with their day.
SELECT c.user_id, c.month, (r.started_at AT TIME ZONE 'UTC')::date AS day, m.currency, c.cause, c.reason,
  c.old_total, c.new_total, c.old_credits_deducted, c.new_credits_deducted,
  c.old_amount_due, c.new_amount_due
FROM {job.corrections} AS c JOIN {job.runs} AS r ON r.run_id = c.run_id
  LEFT JOIN {job.months} AS m ON m.month = c.month
WHERE c.user_id = ANY(%(users)s) AND (
  c.month = %(first)s::date
  OR c.month < %(first)s::date AND r.started_at >= %(first)s AND r.started_at < %(next)s)
ORDER BY c.user_id, c.month, c.run_id

-- name: debts
-- By user what was not covered when a month closed, and what of it was paid later or written off.
SELECT d.user_id, sum(d.amount) AS amount, sum(d.settled) AS settled, sum(d.written_off) AS written_off
FROM {job.debts} AS d
JOIN {job.months} AS m ON m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL
WHERE d.user_id = ANY(%(users)s) AND d.usage_date >= %(first)s::date AND d.usage_date < %(next)s::date
GROUP BY d.user_id

-- name: cluster_names
-- The names of the clusters of a month, as of the last run that wrote it.
SELECT cluster_id, cluster_name FROM {job.cluster_monthly}
WHERE month = %(first)s::date AND cluster_id IS NOT NULL AND cluster_name IS NOT NULL

-- name: drawn
-- Whether credits have been drawn.
SELECT EXISTS (SELECT FROM {job.credit_draws})

-- name: drawn_free
-- Whether free credits have been drawn.
SELECT EXISTS (SELECT FROM {job.credit_draws} WHERE free <> 0)

-- name: ledger_lost
-- Whether the ledger is empty although the roll-ups have draws. With an empty ledger all users would be drawn again.
SELECT NOT EXISTS (SELECT FROM {job.credit_draws}) AND EXISTS (SELECT FROM {job.user_monthly} WHERE credits_deducted <> 0)

-- name: months_lost
-- Whether rollup.months is empty although there are roll-ups, or a closed month has lost closed_at: closed months would
-- be billed again.
SELECT EXISTS (SELECT FROM {job.months} WHERE closed_at IS NULL AND closed_by IS NOT NULL)
  OR NOT EXISTS (SELECT FROM {job.months}) AND EXISTS (SELECT FROM {job.user_monthly})

-- name: overridden
-- Whether any user has a price override in a month that is still open.
SELECT EXISTS (
  SELECT FROM {job.user_monthly}
  WHERE overrides_hash IS NOT NULL AND month IN (SELECT month FROM {job.months} WHERE closed_at IS NULL))

-- name: rated
-- Whether an open month has the cost mode `rated`, in which total_cost is written, whatever the settings say now.
SELECT EXISTS (SELECT FROM {job.months} WHERE cost_mode = 'rated' AND closed_at IS NULL)

-- name: reported
-- Whether an open month has rows that were reported (invoiced) elsewhere.
SELECT EXISTS (
  SELECT FROM {job.user_monthly}
  WHERE amount_reported <> 0 AND month IN (SELECT month FROM {job.months} WHERE closed_at IS NULL))

-- name: used_less
-- Whether all users with free draws have a total_used below their draws, and no month was computed without the column
-- free_credits_used. Then free credits used were counted in a column that is missing now, and would be granted twice.
SELECT coalesce(bool_and(a.total_used < d.amount), false)
  AND NOT EXISTS (SELECT FROM {job.user_monthly} WHERE strpos(credits_hash, '-one-') > 0)
FROM (
  SELECT user_id, sum(free + purchased) AS amount FROM {job.credit_draws} WHERE NOT imported GROUP BY 1 HAVING sum(free) > 0
) AS d
JOIN {app.user_credits} AS a ON a.user_id = d.user_id

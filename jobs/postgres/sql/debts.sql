-- name: stored
-- The debts of some users in months that are closed, or whose debts this run writes again. Debts of a reopened month
-- wait for its next close.
SELECT d.usage_daily_id, d.user_id, d.usage_date, d.amount, d.settled, d.written_off, d.reason
FROM {job.debts} AS d LEFT JOIN {job.months} AS m ON m.month = date_trunc('month', d.usage_date)::date
WHERE d.user_id = ANY({users})
  AND (m.closed_at IS NOT NULL OR date_trunc('month', d.usage_date)::date = ANY({rewritten}::date[]))

-- name: payable
-- Debts that credit can settle now: of a closed month that this run does not compute, whose row still has the same
-- user, day and cluster. All others wait for a backfill of their month. For each debt: credits_deducted of its row, the
-- sum of its ledger entries, and the row's written_hash with either value.
SELECT {usage}, m.month, d.settled,
  d.amount - d.settled - d.written_off AS open, {deducted} AS deducted, w.drawn, {ledger_hash} AS ledger_hash,
  {written_hash} AS written_hash
FROM {job.debts} AS d
JOIN {job.months} AS m ON m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL
JOIN {app.usage_daily} AS u ON u.id = d.usage_daily_id AND u.user_id = d.user_id AND u.date = d.usage_date
CROSS JOIN LATERAL (
  SELECT coalesce(sum(e.free + e.purchased), 0) AS drawn FROM {job.credit_draws} AS e
  WHERE e.usage_daily_id = d.usage_daily_id AND e.user_id = d.user_id
) AS w
WHERE d.amount - d.settled - d.written_off >= {unit} AND {users} AND NOT {reported}
  AND m.month <> ALL({computed}::date[])
  AND EXISTS (SELECT FROM {job.user_daily} AS r WHERE r.date = u.date AND r.user_id = u.user_id
              AND r.cluster_id IS NOT DISTINCT FROM u.hopsworks_cluster_id)
  -- A run corrects a user-month once.
  AND NOT EXISTS (SELECT FROM {job.debts} AS s WHERE s.user_id = d.user_id AND s.run_id = {run_id}::bigint
                  AND date_trunc('month', s.usage_date)::date = m.month)

-- name: open_totals
-- The sum of the open debts of each user, in units of 10^-10.
SELECT d.user_id, (sum(d.amount - d.settled - d.written_off) * 10000000000)::numeric(38, 0)::text AS debts
FROM {job.debts} AS d LEFT JOIN {job.months} AS m ON m.month = date_trunc('month', d.usage_date)::date
WHERE d.amount > d.settled + d.written_off
  AND (m.closed_at IS NOT NULL OR date_trunc('month', d.usage_date)::date = ANY({rewritten}::date[]))
GROUP BY d.user_id

-- name: debtors
-- A part of the work list: users with debts that their credit, or their draws in open months, can settle. Debts are
-- paid before open months, also debts that a backfill has written since.
UNION ALL
SELECT a.user_id, NULL, coalesce((SELECT sum(c.row_count) FROM compared AS c WHERE c.user_id = a.user_id), 0)::bigint,
  0, 0, 0, true, 0
FROM {app.user_credits} AS a
CROSS JOIN LATERAL (SELECT {free} - {free_used} AS free, {purchased} - {purchased_used} AS purchased) AS b
WHERE a.user_id IN (SELECT d.user_id FROM {job.debts} AS d WHERE d.amount > d.settled + d.written_off)
  AND {usable} AND EXISTS ({payable})
  AND (greatest(b.free + least(b.purchased, 0), b.purchased + least(b.free, 0)) >= {unit} OR EXISTS (
    SELECT FROM {job.credit_draws} AS w JOIN {app.usage_daily} AS u ON u.id = w.usage_daily_id AND u.user_id = w.user_id
    WHERE w.user_id = a.user_id AND {open_days} AND NOT {reported}
    GROUP BY w.usage_daily_id HAVING sum(w.free + w.purchased) >= {unit}))

-- name: unwritten
-- A part of the work list: users whose debts of a month to be closed differ from `uncovered` in user_monthly.
UNION ALL
SELECT user_id, NULL, coalesce((SELECT sum(c.row_count) FROM compared AS c WHERE c.user_id = u.user_id), 0)::bigint,
  0, 0, 0, true, 0
FROM (
  SELECT DISTINCT coalesce(s.user_id, d.user_id) AS user_id
  FROM (SELECT user_id, month, uncovered FROM stored WHERE month = ANY({closing}::date[])) AS s
  FULL JOIN (
    SELECT user_id, date_trunc('month', usage_date)::date AS month, sum(amount) AS amount
    FROM {job.debts} WHERE date_trunc('month', usage_date)::date = ANY({closing}::date[]) GROUP BY 1, 2
  ) AS d ON d.user_id = s.user_id AND d.month = s.month
  WHERE coalesce(s.uncovered, 0) <> coalesce(d.amount, 0)
) AS u

-- name: list
-- Debts of closed months. Debts of a reopened month do not count until it closes again.
SELECT d.usage_daily_id, d.user_id, d.usage_date, d.amount, d.settled, d.written_off, d.reason
FROM {job.debts} AS d
JOIN {job.months} AS m ON m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL
WHERE %(user)s::text IS NULL OR d.user_id = %(user)s
ORDER BY d.user_id, d.usage_date, d.usage_daily_id

-- name: write_off
-- Writes off the open part of a user's debts.
UPDATE {job.debts} AS d
SET written_off = d.amount - d.settled, reason = %(reason)s, run_id = %(run_id)s
FROM {job.months} AS m
WHERE d.user_id = %(user)s AND d.amount > d.settled + d.written_off
  AND m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL

-- name: stored
-- The debts of some users in months that are closed, or whose debts this run writes anew. Those of a month that was opened
-- again wait for its next close.
SELECT d.usage_daily_id, d.user_id, d.usage_date, d.amount, d.settled, d.written_off, d.reason
FROM {debts} AS d LEFT JOIN {months} AS m ON m.month = date_trunc('month', d.usage_date)::date
WHERE d.user_id = ANY({users})
  AND (m.closed_at IS NOT NULL OR date_trunc('month', d.usage_date)::date = ANY({anew}::date[]))

-- name: payable
-- Debts that credit can settle now: of a closed month that this run does not compute, whose row still has the same user,
-- day and cluster. All others wait for a backfill of their month. Beside each what its row shows, what the ledger says,
-- and the hash of what is written to the row, as the ledger says and as it is.
SELECT d.usage_daily_id, d.user_id, d.usage_date, m.month, u.hopsworks_cluster_id, d.settled,
  d.amount - d.settled - d.written_off AS open, {deducted} AS deducted, w.drawn, {ledger_hash} AS ledger_hash,
  {written_hash} AS written_hash
FROM {debts} AS d
JOIN {months} AS m ON m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL
JOIN {usage} AS u ON u.id = d.usage_daily_id AND u.user_id = d.user_id AND u.date = d.usage_date
CROSS JOIN LATERAL (
  SELECT coalesce(sum(e.free + e.purchased), 0) AS drawn FROM {draws} AS e
  WHERE e.usage_daily_id = d.usage_daily_id AND e.user_id = d.user_id
) AS w
WHERE d.amount - d.settled - d.written_off >= {unit} AND {users} AND NOT {reported}
  AND m.month <> ALL({computed}::date[])
  AND EXISTS (SELECT FROM {user_daily} AS r WHERE r.date = d.usage_date AND r.user_id = d.user_id
              AND r.cluster_id IS NOT DISTINCT FROM u.hopsworks_cluster_id)
  -- A run corrects a user-month once.
  AND NOT EXISTS (SELECT FROM {debts} AS s WHERE s.user_id = d.user_id AND s.run_id = {run_id}::bigint
                  AND date_trunc('month', s.usage_date)::date = m.month)

-- name: open_totals
-- By user what his open debts come to, in units of 10^-10.
SELECT d.user_id, (sum(d.amount - d.settled - d.written_off) * 10000000000)::numeric(38, 0)::text AS debts
FROM {debts} AS d LEFT JOIN {months} AS m ON m.month = date_trunc('month', d.usage_date)::date
WHERE d.amount > d.settled + d.written_off
  AND (m.closed_at IS NOT NULL OR date_trunc('month', d.usage_date)::date = ANY({anew}::date[]))
GROUP BY d.user_id

-- name: debtors
-- Users who have credit, or draws in open months, and debts that it can settle: debts come before open months, also those
-- that a backfill has written since.
UNION ALL
SELECT a.user_id, NULL, coalesce((SELECT sum(c.row_count) FROM compared AS c WHERE c.user_id = a.user_id), 0)::bigint,
  0, 0, 0, true, 0
FROM {accounts} AS a
CROSS JOIN LATERAL (SELECT {granted} - {free_used} AS free, {bought} - {used} AS bought) AS b
WHERE a.user_id IN (SELECT d.user_id FROM {debts} AS d WHERE d.amount > d.settled + d.written_off)
  AND {usable} AND EXISTS ({payable})
  AND (greatest(b.free + least(b.bought, 0), b.bought + least(b.free, 0)) >= {unit} OR EXISTS (
    SELECT FROM {draws} AS w JOIN {usage} AS u ON u.id = w.usage_daily_id AND u.user_id = w.user_id
    WHERE w.user_id = a.user_id AND {open_days} AND NOT {reported}
    GROUP BY w.usage_daily_id HAVING sum(w.free + w.purchased) >= {unit}))

-- name: unwritten
-- Users of whom the debts of a month that is to be closed are not what user_monthly says.
UNION ALL
SELECT user_id, NULL, coalesce((SELECT sum(c.row_count) FROM compared AS c WHERE c.user_id = u.user_id), 0)::bigint,
  0, 0, 0, true, 0
FROM (
  SELECT DISTINCT coalesce(s.user_id, d.user_id) AS user_id
  FROM (SELECT user_id, month, uncovered FROM stored WHERE month = ANY({closing}::date[])) AS s
  FULL JOIN (
    SELECT user_id, date_trunc('month', usage_date)::date AS month, sum(amount) AS amount
    FROM {debts} WHERE date_trunc('month', usage_date)::date = ANY({closing}::date[]) GROUP BY 1, 2
  ) AS d ON d.user_id = s.user_id AND d.month = s.month
  WHERE coalesce(s.uncovered, 0) <> coalesce(d.amount, 0)
) AS u

-- name: list
-- Debts of closed months: those of a month that was opened again are none until it closes.
SELECT d.usage_daily_id, d.user_id, d.usage_date, d.amount, d.settled, d.written_off, d.reason
FROM {debts} AS d JOIN {months} AS m ON m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL
WHERE %(user)s::text IS NULL OR d.user_id = %(user)s
ORDER BY d.user_id, d.usage_date, d.usage_daily_id

-- name: write_off
-- What is open of a user's debts is owed no longer.
UPDATE {debts} AS d
SET written_off = d.amount - d.settled, reason = %(reason)s, run_id = %(run_id)s
FROM {months} AS m
WHERE d.user_id = %(user)s AND d.amount > d.settled + d.written_off
  AND m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL

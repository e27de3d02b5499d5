-- name: explained_gaps
-- How often a balance changed between two of our transactions: other programs have posted there.
SELECT count(*) FROM (
  SELECT balance_before - lag(balance_after) OVER (PARTITION BY user_id ORDER BY created_at, amount DESC) AS gap
  FROM {app.credit_transactions} WHERE {ours}
) AS g WHERE gap <> 0

-- name: arithmetic
-- Each of our transactions: balance before + amount = balance after, and no draw leaves a balance below 0.
SELECT id::text AS key, balance_before + amount AS left_, balance_after AS right_,
  CASE WHEN balance_before + amount <> balance_after OR balance_after < 0 AND amount < 0 THEN
    'balance_before + amount is ' || balance_before + amount || ', balance_after is ' || balance_after END AS difference
FROM {app.credit_transactions} WHERE {ours}

-- name: balances
-- A balance = the balance before our first transaction + all transactions since, of any program. The date of a purchase
-- posted at the same moment may be on the wrong side of our first transaction: an hour to either side is tolerated
-- once, where it makes the sum right.
SELECT s.user_id AS key,
  CASE WHEN {balance} IN (s.balance + s.earlier, s.balance - s.later) THEN {balance} ELSE s.balance END AS left_,
  {balance} AS right_
FROM (
  SELECT f.user_id,
    (f.balance_before + coalesce(sum(t.amount) FILTER (WHERE t.created_at >= f.created_at), 0))::numeric AS balance,
    coalesce(sum(t.amount) FILTER (WHERE t.created_at < f.created_at), 0) AS earlier,
    coalesce(sum(t.amount) FILTER (WHERE t.created_at >= f.created_at AND NOT coalesce({ours}, false)
      AND t.created_at < f.created_at + interval '1 hour'), 0) AS later
  FROM (
    SELECT DISTINCT ON (user_id) user_id, created_at, balance_before FROM {app.credit_transactions} WHERE {ours}
    ORDER BY user_id, created_at, amount DESC
  ) AS f
  JOIN {app.credit_transactions} AS t ON t.user_id = f.user_id AND t.created_at >= f.created_at - interval '1 hour'
  GROUP BY f.user_id, f.created_at, f.balance_before
) AS s JOIN {app.user_credits} AS a ON a.user_id = s.user_id

-- name: debts
-- Closed months with debts: `uncovered` of user_monthly = the part of the debts that was not settled.
SELECT d.user_id || ' ' || to_char(d.month, 'YYYY-MM') AS key, m.uncovered AS left_, d.amount AS right_
FROM (
  SELECT user_id, date_trunc('month', usage_date)::date AS month, sum(amount - settled) AS amount
  FROM {job.debts} GROUP BY 1, 2
) AS d
JOIN {job.months} AS o ON o.month = d.month AND o.closed_at IS NOT NULL
LEFT JOIN {job.user_monthly} AS m ON m.user_id = d.user_id AND m.month = d.month
WHERE d.month = ANY(%(covered)s)

-- name: kinds
-- Invariant 3: free + purchased credits = credits deducted.
SELECT user_id || ' ' || to_char(month, 'YYYY-MM') AS key, credits_free + credits_purchased AS left_,
  credits_deducted AS right_
FROM {job.user_monthly} WHERE month BETWEEN %(first)s AND %(last)s

-- name: ledger_months
-- Invariant 4: the ledger's sum of a user and month = that of the roll-up. One row per user, month and kind of credit.
-- Left out: adopted draws of days that no run has covered, which are in no roll-up yet, and users whose account is
-- gone.
SELECT coalesce(d.user_id, u.user_id) || ' ' || to_char(coalesce(d.month, u.month), 'YYYY-MM') || ' ' || k.kind AS key,
  coalesce(CASE k.kind WHEN 'free' THEN d.free ELSE d.purchased END, 0) AS left_,
  coalesce(CASE k.kind WHEN 'free' THEN u.credits_free ELSE u.credits_purchased END, 0) AS right_
FROM (
  SELECT user_id, date_trunc('month', usage_date)::date AS month, sum(free) AS free, sum(purchased) AS purchased
  FROM {job.credit_draws}
  WHERE usage_date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' AND {entry_has_account}
    AND date_trunc('month', usage_date)::date = ANY(%(covered)s::date[])  -- a backfill leaves gaps between months
    AND (usage_date <= %(until)s OR EXISTS (
      SELECT FROM {app.usage_daily} AS r
      WHERE r.id = usage_daily_id AND r.user_id = {job.credit_draws}.user_id AND r.date <= %(until)s
        AND NOT EXISTS (SELECT FROM {job.months} AS m
                        WHERE m.month = date_trunc('month', r.date) AND m.closed_at IS NOT NULL)))
  GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT user_id, month, credits_free, credits_purchased
  FROM {job.user_monthly} WHERE month BETWEEN %(first)s AND %(last)s AND {month_has_account}
) AS u ON u.user_id = d.user_id AND u.month = d.month
CROSS JOIN (VALUES ('free'), ('purchased')) AS k(kind)

-- name: ledger_rows
-- Invariant 4: the ledger's sum of a row by its present user = its credits_deducted. A row that has moved to another
-- user since the last run still shows the draws of its former user: the next run corrects it, in a closed month a
-- backfill. Therefore rows of open months are checked, and of those closed months that were asked for. (A date may be
-- beyond the range of timestamps.)
SELECT coalesce(d.id, u.id)::text AS key,
  CASE WHEN d.all_users = u.deducted THEN u.deducted ELSE coalesce(d.present, 0) END AS left_,
  coalesce(u.deducted, 0) AS right_
FROM (
  SELECT d.usage_daily_id AS id, sum(d.free + d.purchased) AS all_users,
    sum(d.free + d.purchased) FILTER (WHERE d.user_id = r.user_id) AS present
  FROM {job.credit_draws} AS d JOIN {app.usage_daily} AS r ON r.id = d.usage_daily_id
  WHERE date_trunc('month', least(r.date, '9999-12-31')) = ANY(%(months)s::date[]) GROUP BY 1
) AS d
FULL JOIN (SELECT id, round(credits_deducted::numeric, 10) AS deducted FROM {app.usage_daily}
           WHERE credits_deducted <> 0
             AND date_trunc('month', least(date, '9999-12-31')) = ANY(%(months)s::date[])) AS u ON u.id = d.id

-- name: missing_accounts
-- How many users have ledger entries but no account any more. Their entries stay as they are.
SELECT count(DISTINCT user_id) FROM {job.credit_draws} WHERE NOT ({entry_has_account})

-- name: rejects
-- Invariant 6: rows in rollup.rejects = rows that the last finished run rejected.
SELECT 'run ' || r.run_id AS key, r.rows_rejected::numeric AS left_,
  (SELECT count(*) FROM {job.rejects} AS j
   WHERE coalesce(j.row ->> 'date', 'infinity') IN ('infinity', '-infinity')
      OR j.row ->> 'date' BETWEEN r.window_from::text AND r.window_to::text)::numeric AS right_
FROM {job.runs} AS r WHERE r.run_id = (SELECT max(run_id) FROM {job.runs} WHERE kind = 'run' AND status = 'done')
  AND r.run_id = (SELECT max(run_id) FROM {job.runs} WHERE kind IN ('run', 'backfill'))

-- name: revisions
-- Invariant 4: revisions have no gaps: the entries of a row and user = their highest revision, plus one where revision
-- 0 was imported.
SELECT usage_daily_id || ' ' || user_id AS key, count(*)::numeric AS left_,
  (max(revision) + (min(revision) = 0)::int)::numeric AS right_
FROM {job.credit_draws} GROUP BY usage_daily_id, user_id

-- name: transactions
-- Invariant 4: the ledger's sum of a user and run = the sum of the run's transactions. For a user with draws adopted
-- after the first adoption only the totals are compared: some of his entries were lost, or never had a transaction of
-- ours.
SELECT coalesce(d.user_id, t.user_id) || ' run ' || coalesce(d.run_id, t.run_id) AS key,
  coalesce(d.amount, 0) AS left_, coalesce(t.amount, 0) AS right_
FROM (
  SELECT user_id, run_id::text AS run_id, sum(free + purchased) AS amount FROM {job.credit_draws}
  WHERE NOT imported AND {entry_has_account} GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT user_id, metadata ->> 'run_id' AS run_id, -sum(amount)::numeric AS amount
  FROM {app.credit_transactions} WHERE {ours} AND {transaction_has_account} GROUP BY 1, 2
) AS t ON t.user_id = d.user_id AND t.run_id = d.run_id
WHERE coalesce(d.user_id, t.user_id) NOT IN (SELECT user_id FROM {job.credit_draws} WHERE imported AND revision > 0)
UNION ALL
SELECT user_id, coalesce(drawn, 0), coalesce(posted, 0) FROM ({compared}) AS c
WHERE user_id IN (SELECT user_id FROM {job.credit_draws} WHERE imported AND revision > 0)

-- name: used
-- An account shows at least as much used credit as we have drawn.
SELECT d.user_id AS key, d.amount AS left_, CASE WHEN {used} >= d.amount THEN d.amount ELSE {used} END AS right_
FROM (SELECT user_id, sum(free + purchased) AS amount FROM {job.credit_draws} WHERE NOT imported GROUP BY 1) AS d
JOIN {app.user_credits} AS a ON a.user_id = d.user_id

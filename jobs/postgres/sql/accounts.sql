-- name: by_user
-- The accounts of some users, with ten decimals: credit granted or purchased is rounded down, credit used is rounded up.
SELECT user_id, floor({free_granted} * 10000000000) * 0.0000000001, floor({total_purchased} * 10000000000) * 0.0000000001,
  ceil({free_used} * 10000000000) * 0.0000000001, ceil({total_used} * 10000000000) * 0.0000000001
FROM {app.user_credits} AS a WHERE user_id = ANY({users}) AND {usable}

-- name: lock
-- Locks accounts until COMMIT, so that no other transaction changes them; returns whether each could be locked. Locks
-- are taken in one order, so that two writers cannot deadlock.
WITH locked AS (
  SELECT user_id FROM {app.user_credits} WHERE user_id = ANY({users}) ORDER BY user_id {lock}
)
SELECT user_id, user_id IN (SELECT user_id FROM locked) FROM {app.user_credits} WHERE user_id = ANY({users})

-- name: post_accounts
-- Adds the staged draws to the used credits of each account. Increments overwrite nothing that another program has
-- posted meanwhile. An account whose balance would fall below 0 is not updated.
UPDATE {app.user_credits} AS a SET {increments}
FROM (SELECT user_id, trim_scale(sum(free)) AS free, trim_scale(sum(purchased)) AS purchased
      FROM usage_jobs_draws GROUP BY user_id) AS d
WHERE a.user_id = d.user_id AND ({changes}) AND (d.free + d.purchased <= 0 OR {balance} - d.free - d.purchased >= 0)

-- name: post_draws
-- Adds the staged draws to the ledger, each with the next revision of its row and user.
INSERT INTO {job.credit_draws} (usage_daily_id, user_id, revision, usage_date, free, purchased, imported, run_id)
SELECT id, user_id,
  coalesce((SELECT max(d.revision) FROM {job.credit_draws} AS d
            WHERE d.usage_daily_id = s.id AND d.user_id = s.user_id), 0)
    + row_number() OVER (PARTITION BY id, user_id ORDER BY month),
  date, free, purchased, %(imported)s, %(run_id)s
FROM usage_jobs_draws AS s
ORDER BY user_id, date, id
ON CONFLICT DO NOTHING

-- name: post_transactions
-- Adds the transactions of the staged draws, which the billing page shows: one for each row drawn for the first time,
-- one for the corrections of a user and month. Refunds of a user come first, so that no balance in between falls below
-- 0. Runs before the (locked) accounts change. Description and metadata are computed after the sort, because they are
-- wide.
WITH entries AS (
  SELECT user_id, -(free + purchased) AS amount, date AS sorted, id, free, purchased, NULL::jsonb AS days
  FROM usage_jobs_draws WHERE is_first_draw
  UNION ALL
  SELECT user_id, -sum(free + purchased), month, NULL, sum(free), sum(purchased),
    jsonb_agg(jsonb_build_object('usage_date', date, 'free', trim_scale(free),
      'purchased', trim_scale(purchased)) ORDER BY date, id)
  FROM usage_jobs_draws WHERE NOT is_first_draw GROUP BY user_id, month
)
INSERT INTO {app.credit_transactions}
  (user_id, type, amount, balance_before, balance_after, description, metadata, created_at)
SELECT c.user_id, 'usage', trim_scale(c.amount), {balance} + trim_scale(sum(c.amount) OVER earlier - c.amount),
  {balance} + trim_scale(sum(c.amount) OVER earlier),
  CASE WHEN c.days IS NULL THEN 'Usage of ' || c.sorted
    ELSE 'Correction of usage in ' || to_char(c.sorted, 'YYYY-MM') END,
  CASE WHEN c.days IS NULL THEN
    jsonb_build_object('schema', %(schema)s::text, 'run_id', %(run_id)s::bigint, 'usage_date', c.sorted,
      'usage_daily_id', c.id,
      'free', trim_scale(c.free), 'purchased', trim_scale(c.purchased))
  ELSE
    jsonb_build_object('schema', %(schema)s::text, 'run_id', %(run_id)s::bigint, 'month', c.sorted,
      'free', trim_scale(c.free), 'purchased', trim_scale(c.purchased), 'days', c.days)
  END,
  clock_timestamp()
FROM entries AS c JOIN {app.user_credits} AS a ON a.user_id = c.user_id
WHERE c.amount <> 0
WINDOW earlier AS (PARTITION BY c.user_id ORDER BY c.amount < 0, c.sorted, c.id NULLS FIRST ROWS UNBOUNDED PRECEDING)
ORDER BY c.user_id, c.amount < 0, c.sorted, c.id NULLS FIRST

-- name: has_account
-- A condition: whether the user of a row of {table} has an account.
EXISTS (SELECT FROM {app.user_credits} AS a WHERE a.user_id = {table}.user_id)

-- name: unusable_accounts
-- Users whose accounts have an amount that is not a finite number, or is too large.
SELECT user_id FROM {app.user_credits} AS a WHERE NOT {usable} ORDER BY 1 LIMIT 10

-- name: unusable_payers
-- Users with an unusable account who have draws or uncovered usage in some months: their amounts in these months are
-- not known.
SELECT a.user_id FROM {app.user_credits} AS a
WHERE NOT {usable} AND (
  EXISTS (SELECT FROM {job.user_monthly} AS u
          WHERE u.user_id = a.user_id AND u.month = ANY(%(months)s::date[])
            AND (u.uncovered <> 0 OR u.credits_deducted <> 0))
  OR EXISTS (SELECT FROM {job.credit_draws} AS d WHERE d.user_id = a.user_id AND {days}
             GROUP BY d.usage_daily_id HAVING sum(d.free) <> 0 OR sum(d.purchased) <> 0))
ORDER BY 1 LIMIT 10

-- name: missing_top_ups
-- The INSERT that each account lacks whose balance is higher than the sum of its transactions.
SELECT format($insert$-- What was added to the account by hand; of free credits the type is 'grant'.
INSERT INTO %s
  (user_id, type, amount, balance_before, balance_after,
   description, created_at)
VALUES
  (%L, 'purchase', %s, %s, %s,
   'Top-up by hand', clock_timestamp());$insert$,
  {transactions}, key, trim_scale(right_ - left_), trim_scale(left_), trim_scale(right_))
FROM ({balances}) AS b WHERE right_ > left_ AND right_ < 'Infinity' ORDER BY key LIMIT 10

-- name: compared
-- Common table expressions: each user's months as their usage is now, beside the inputs stored in user_monthly. The
-- same scan finds rows without a day (their month is null), so that the table is read only once.
WITH found AS (
  SELECT user_id, month, count(*) AS row_count, bit_xor(usage_hash) AS usage_hash,
    bit_xor(written_hash) AS written_hash, {new_days}
  FROM (
    SELECT user_id, CASE WHEN {days} THEN {month} END AS month,
      {usage_hash} AS usage_hash, {written_hash} AS written_hash, date > %(covered_to)s::date AS is_new
    FROM {app.usage_daily} AS u WHERE {days} OR date IS NULL OR date = 'infinity' OR date = '-infinity'
  ) AS u
  GROUP BY user_id, month
), stored AS (
  SELECT user_id, month, row_count, usage_hash, written_hash, rates_hash, overrides_hash, credits_hash, currency,
    credits_free, credits_purchased, uncovered
  FROM {job.user_monthly} WHERE month = ANY(%(months)s::date[])
), compared AS (
  SELECT user_id, month, f.row_count, s.user_id IS NOT NULL AS is_stored, {flags}
  FROM (
    SELECT user_id, month, row_count, usage_hash, written_hash, new_rows, new_usage, new_written
    FROM found WHERE user_id IS NOT NULL AND month IS NOT NULL
  ) AS f
  FULL JOIN stored AS s USING (user_id, month)
  JOIN unnest(%(months)s::date[], %(rates)s::text[], %(covered_rates)s::text[], %(forced)s::boolean[],
    %(currencies)s::text[]) AS m(month, rates_hash, covered_rates, forced, currency) USING (month)
  LEFT JOIN unnest(%(override_users)s::text[], %(override_months)s::date[], %(override_hashes)s::text[],
    %(covered_overrides)s::text[]) AS o(user_id, month, overrides_hash, covered_overrides) USING (user_id, month)
  {joins}
)

-- name: new_days
-- Columns for `compared`: the fingerprint of a user's rows of new days. XORed with the month's fingerprint it gives
-- that of the covered days.
count(*) FILTER (WHERE is_new) AS new_rows, bit_xor(usage_hash) FILTER (WHERE is_new) AS new_usage,
  bit_xor(written_hash) FILTER (WHERE is_new) AS new_written

-- name: no_new_days
-- The same where new days are not counted apart.
0::bigint AS new_rows, 0::bigint AS new_usage, 0::bigint AS new_written

-- name: differs
-- A condition: an input of a user-month has changed.
(f.row_count, f.usage_hash, f.written_hash) IS DISTINCT FROM (s.row_count, s.usage_hash, s.written_hash) OR m.forced
  OR s.rates_hash IS DISTINCT FROM m.rates_hash OR s.overrides_hash IS DISTINCT FROM o.overrides_hash
  OR s.currency IS DISTINCT FROM m.currency
  OR s.credits_hash IS DISTINCT FROM concat_ws('.', coalesce(b.modes_hash, 0)::text, {paying})

-- name: covered_differs
-- The same of the covered days.
(f.row_count - f.new_rows, f.usage_hash # coalesce(f.new_usage, 0), f.written_hash # coalesce(f.new_written, 0))
    IS DISTINCT FROM (s.row_count, s.usage_hash, s.written_hash) OR m.forced
  OR s.rates_hash IS DISTINCT FROM m.covered_rates OR s.overrides_hash IS DISTINCT FROM o.covered_overrides
  OR s.currency IS DISTINCT FROM m.currency
  OR s.credits_hash IS DISTINCT FROM concat_ws('.', coalesce(b.covered_modes, 0)::text, {paying})

-- name: paying
-- The other parts of credits_hash. A month without prepaid usage has no account in it (pipeline.rollup_targets).
CASE WHEN split_part(s.credits_hash, '.', 2) = '' THEN '' ELSE coalesce(a.account_hash::text, '-') END,
    %(credit_terms)s::text, d.debts

-- name: flags
-- Columns of `compared` for the work list: whether a user-month differs, whether its covered days do, and
-- whether a batch may write its rows.
{differs} AS differs,
  CASE WHEN NOT %(counts_new_days)s THEN true WHEN s.user_id IS NULL THEN f.row_count > f.new_rows
    ELSE {covered_differs} END AS is_changed,
  f.new_rows, month = ANY(%(rated)s::date[]) OR %(writes_credits)s AND coalesce(b.is_prepaid, false) AS is_written

-- name: joins
-- Joins of `compared` for the work list: billing modes, account and open debts of a user.
LEFT JOIN ({mode_hashes}) AS b USING (user_id, month)
  LEFT JOIN ({account_hashes}) AS a USING (user_id)
  LEFT JOIN ({open_debts}) AS d USING (user_id)

-- name: changed_inputs
-- Columns of `compared` for `differences`: which inputs have changed.
m.forced OR (f.row_count, f.usage_hash) IS DISTINCT FROM (s.row_count, s.usage_hash) AS differs_usage,
  s.rates_hash IS DISTINCT FROM m.rates_hash AS differs_price,
  s.overrides_hash IS DISTINCT FROM o.overrides_hash AS differs_override

-- name: work_list
-- Three kinds of rows. By month: rows and users now, and users stored. By user, if a month of his differs: rows of all
-- his months, how many of these a batch may write, whether covered days differ, and rows of new days. One row: how many
-- rows have no user or no day.
{compared}
-- A user may come from more than one part of the union.
SELECT user_id, month, max(row_count), max(users), max(stored), max(writes), bool_or(is_changed), max(new_rows)
FROM (
SELECT NULL AS user_id, month, coalesce(sum(row_count), 0)::bigint AS row_count,
  count(row_count) AS users, count(*) FILTER (WHERE is_stored) AS stored, 0::bigint AS writes, false AS is_changed,
  0::bigint AS new_rows
FROM compared GROUP BY month
UNION ALL
SELECT user_id, NULL, coalesce(sum(row_count), 0)::bigint, 0, 0,
  coalesce(sum(row_count) FILTER (WHERE is_written), 0)::bigint, %(all_users)s OR bool_or(is_changed),
  coalesce(sum(new_rows), 0)::bigint
FROM compared GROUP BY user_id HAVING %(all_users)s OR bool_or(differs)
UNION ALL
SELECT NULL, NULL, coalesce(sum(row_count), 0)::bigint, 0, 0, 0, false, 0
FROM found WHERE user_id IS NULL OR month IS NULL
{draws_without_usage}
{debts}
) AS w
GROUP BY user_id, month ORDER BY user_id COLLATE "C"

-- name: draws_without_usage
-- A part of the work list: users without usage and without a stored month who still have draws in these months. Their
-- account was unusable when their usage was deleted, or a run died between the adoption of their draws and their batch.
UNION ALL
SELECT a.user_id, NULL, 0, 0, 0, 0, true, 0
FROM (
  SELECT a.user_id FROM {app.user_credits} AS a
  WHERE NOT EXISTS (SELECT FROM compared AS c WHERE c.user_id = a.user_id)
    AND {usable}
  OFFSET 0  -- else the planner reads the ledger for every account first
) AS a
WHERE (SELECT sum(d.free) <> 0 OR sum(d.purchased) <> 0 FROM {job.credit_draws} AS d
       WHERE d.user_id = a.user_id AND {draw_days})
-- Users with adopted draws whose ledger differs from user_monthly: draws of days not covered yet are adopted with all
-- others, and their rows may be gone when a run covers these days.
UNION ALL
SELECT d.user_id, NULL, 0, 0, 0, 0, true, 0
FROM (
  SELECT user_id, date_trunc('month', usage_date)::date AS month, sum(free) AS free, sum(purchased) AS purchased
  FROM {job.credit_draws} WHERE {month_days}
    AND user_id IN (SELECT user_id FROM {job.credit_draws} WHERE revision = 0 AND {draw_days})
  GROUP BY 1, 2 HAVING bool_and({draw_days})
) AS d
JOIN {app.user_credits} AS a ON a.user_id = d.user_id AND {usable}
LEFT JOIN stored AS s ON s.user_id = d.user_id AND s.month = d.month
WHERE (d.free, d.purchased) IS DISTINCT FROM (coalesce(s.credits_free, 0), coalesce(s.credits_purchased, 0))

-- name: draw_counts
-- How many ledger entries some users have in the months of the window.
SELECT user_id, count(*) FROM {job.credit_draws} WHERE user_id = ANY({users}) AND {draw_days} GROUP BY user_id

-- name: differences
-- Every user-month whose inputs have changed, and which inputs; and the number of rows of each month now.
{compared}
SELECT NULL AS user_id, month, false AS usage, false AS price, false AS override,
  coalesce(sum(row_count), 0)::bigint AS row_count
FROM compared GROUP BY month
UNION ALL
SELECT user_id, month, differs_usage, differs_price AND is_stored AND row_count IS NOT NULL,
  differs_override AND is_stored AND row_count IS NOT NULL, coalesce(row_count, 0)
FROM compared WHERE differs_usage OR differs_price OR differs_override

-- name: mode_hashes
-- By user and month: a hash of the billing modes up to the month's last day, one up to its last covered day, and
-- whether the user was prepaid on any day.
SELECT user_id, m.month, bit_xor(hash_record_extended(ROW(valid_from, mode), 0)) AS modes_hash,
  bit_xor(hash_record_extended(ROW(valid_from, mode), 0)) FILTER (WHERE valid_from <= m.covered) AS covered_modes,
  bool_or(mode = 'prepaid') AS is_prepaid
FROM ({entries}) AS e
JOIN unnest(%(months)s::date[], %(ends)s::date[], %(covered_ends)s::date[]) AS m(month, last, covered)
  ON e.valid_from <= m.last
GROUP BY user_id, m.month

-- name: account_hashes
-- A hash of each user's account.
SELECT user_id, bit_xor({account_hash}) AS account_hash FROM {app.user_credits} AS a GROUP BY user_id

-- name: no_account_hashes
-- The same, and `drawn_hashes`, where there is no table of accounts.
SELECT NULL::text AS user_id, NULL::bigint AS account_hash, NULL::boolean AS is_usable WHERE false

-- name: users_fingerprints
-- The fingerprints of some users' months now, to be compared with the rows that a batch has read.
SELECT user_id, month, count(*), bit_xor(usage_hash), bit_xor(written_hash)
FROM (
  SELECT user_id, {month} AS month, {usage_hash} AS usage_hash, {written_hash} AS written_hash
  FROM {app.usage_daily} AS u WHERE user_id = ANY({users}) AND {days}
) AS u
GROUP BY user_id, month

-- name: credit_hashes
-- By user and month, of some users: hashes of their billing modes, and of their accounts.
SELECT u.user_id, m.month, coalesce(b.modes_hash, 0), a.account_hash, coalesce(a.is_usable, false)
FROM unnest(%(users)s::text[]) AS u(user_id)
CROSS JOIN unnest(%(months)s::date[]) AS m(month)
LEFT JOIN ({mode_hashes}) AS b ON b.user_id = u.user_id AND b.month = m.month
LEFT JOIN ({drawn_hashes}) AS a ON a.user_id = u.user_id

-- name: drawn_hashes
-- A hash of each account as it will be when the draws of a batch are posted.
SELECT a.user_id, bit_xor({account_hash}) AS account_hash, bool_and({usable}) AS is_usable
FROM {app.user_credits} AS a
LEFT JOIN unnest(%(drawn_users)s::text[], %(drawn_free)s::numeric[], %(drawn_purchased)s::numeric[])
  AS p(user_id, free, purchased) ON p.user_id = a.user_id
CROSS JOIN LATERAL (SELECT coalesce(p.free, 0) AS free, coalesce(p.purchased, 0) AS purchased) AS d
WHERE a.user_id = ANY(%(users)s::text[]) GROUP BY a.user_id

-- name: accounts_before
-- By user-month a hash of the account without our own draws since it was last written. Any other change of the account
-- was made by other programs.
SELECT d.month, d.user_id, {account_hash}
FROM (
  SELECT s.month, s.user_id, -coalesce(sum(w.free), 0) AS free, -coalesce(sum(w.purchased), 0) AS purchased
  FROM unnest(%(months)s::date[], %(users)s::text[]) AS s(month, user_id)
  JOIN {job.user_monthly} AS m ON m.month = s.month AND m.user_id = s.user_id
  LEFT JOIN {job.credit_draws} AS w ON w.user_id = m.user_id AND w.run_id > m.run_id
    AND NOT w.imported  -- an adopted draw changed no account
    AND w.run_id IS DISTINCT FROM %(run_id)s::bigint
  GROUP BY s.month, s.user_id
) AS d JOIN {app.user_credits} AS a ON a.user_id = d.user_id

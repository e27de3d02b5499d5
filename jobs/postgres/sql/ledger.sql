-- name: draws
-- The ledger entries of some users on the days in question.
SELECT usage_daily_id, user_id, usage_date, imported, free, purchased FROM {draws}
WHERE user_id = ANY({users}) AND {days}

-- name: adopted_elsewhere
-- Rows of some users that have adopted draws in a month that is not computed now, even if these were reversed since.
SELECT DISTINCT usage_daily_id, user_id FROM {draws}
WHERE user_id = ANY({users}) AND imported AND date_trunc('month', usage_date)::date <> ALL({months}::date[])

-- name: drawn_by_row
-- The draws on each row of some users, by lot, in all months.
SELECT user_id, usage_daily_id, {lots} FROM {draws} WHERE user_id = ANY({users}) GROUP BY 1, 2

-- name: mismatched_rows
-- Rows whose credits_deducted is not what their user has drawn in the months that are computed now. Of each: what he
-- has drawn on it in all months, the part of that in closed months that are not computed now, and the two kinds of rows
-- that the ledger does not explain (schemas.MISMATCHED: `foreign`, `empty`). The former user of a row may be in a batch
-- that has reversed his draws already: so his draws before the newest entry explain a row, too.
WITH drawn AS (
  SELECT usage_daily_id AS id, user_id, sum(amount) AS drawn,
    coalesce(sum(amount) FILTER (WHERE revision < newest), 0) AS before,
    coalesce(sum(amount) FILTER (WHERE is_elsewhere), 0) AS elsewhere
  FROM (
    SELECT usage_daily_id, user_id, revision, free + purchased AS amount,
      max(revision) OVER (PARTITION BY usage_daily_id, user_id) AS newest,
      month <> ALL(%(window)s::date[]) AND NOT EXISTS (
        SELECT FROM {job.months} AS m WHERE m.month = d.month AND m.closed_at IS NULL) AS is_elsewhere
    FROM (
      SELECT usage_daily_id, user_id, revision, free, purchased, date_trunc('month', usage_date)::date AS month
      FROM {draws}
    ) AS d
    WHERE usage_daily_id = ANY(%(id)s::uuid[])
  ) AS d GROUP BY 1, 2
)
SELECT id, drawn, elsewhere,
  NOT is_empty AND NOT is_explained AND (deducted IS NOT NULL OR NOT %(begins_ledger)s), is_empty
FROM (
  SELECT id, deducted, drawn, elsewhere,
    coalesce(deducted = 0 AND drawn <> 0 OR deducted = before AND drawn = 0, false) AS is_empty,
    coalesce(deducted IN (drawn, of_all_users) OR is_of_one_user, false) AS is_explained
  FROM (
    SELECT r.id, r.deducted, coalesce(sum(d.drawn), 0) AS of_all_users,
      coalesce(sum(d.drawn) FILTER (WHERE d.user_id = r.user_id), 0) AS drawn,
      max(d.before) FILTER (WHERE d.user_id = r.user_id) AS before,
      coalesce(sum(d.elsewhere) FILTER (WHERE d.user_id = r.user_id), 0) AS elsewhere,
      bool_or(r.deducted = d.drawn OR r.deducted = d.before AND d.user_id <> r.user_id) AS is_of_one_user
    FROM unnest(%(id)s::uuid[], %(user_id)s::text[], %(deducted)s::numeric[]) AS r(id, user_id, deducted)
    LEFT JOIN drawn AS d ON d.id = r.id
    GROUP BY r.id, r.user_id, r.deducted
  ) AS r
) AS r

-- name: deducted
-- Rows with credits_deducted of another program, with a user and a day. Days outside the years 1 to 9999 do not count.
SELECT id, user_id, date, hopsworks_cluster_id, round(credits_deducted::numeric, 10) AS credits_deducted
FROM {app.usage_daily}
WHERE credits_deducted <> 0 AND credits_deducted::numeric NOT IN ('NaN', 'Infinity', '-Infinity')
  AND user_id IS NOT NULL AND date BETWEEN '0001-01-01' AND '9999-12-31'

-- name: our_transactions
-- A condition: a transaction was posted by runs of this schema. Transactions of the first version do not name a schema.
type = 'usage' AND CASE WHEN metadata ->> 'schema' IS NULL
  THEN metadata ->> 'run_id' IN (SELECT run_id::text FROM {job.runs}) ELSE metadata ->> 'schema' = {schema} END

-- name: ledger_and_transactions
-- By user the sum of our draws in the ledger and in our transactions. Imported entries have no transaction of ours,
-- except when they replace entries that were lost: then all entries adopted after the first adoption have transactions.
SELECT user_id, CASE WHEN t.amount = d.amount + d.adopted THEN t.amount ELSE d.amount END AS drawn, t.amount AS posted
FROM (
  SELECT user_id, coalesce(sum(free + purchased) FILTER (WHERE NOT imported), 0) AS amount,
    coalesce(sum(free + purchased) FILTER (WHERE imported AND revision > 0), 0) AS adopted
  FROM {job.credit_draws} WHERE {which_entries} GROUP BY 1
) AS d
FULL JOIN (
  SELECT user_id, -sum(amount)::numeric AS amount FROM {app.credit_transactions}
  WHERE {ours} AND {which_transactions} GROUP BY 1
) AS t USING (user_id)

-- name: check
-- One check over all of its rows: the sums of both sides, how many rows break it, the first ten of these, and how their
-- sides differ.
SELECT coalesce(sum(left_), 0), coalesce(sum(right_), 0), count(*) FILTER (WHERE {is_broken}),
  coalesce((array_agg(key ORDER BY key) FILTER (WHERE {is_broken}))[1:10], '{{}}'),
  coalesce((array_agg({difference} ORDER BY key) FILTER (WHERE {is_broken}))[1:10], '{{}}')
FROM ({check}) AS c

-- name: incomplete_months
-- Months that cannot be checked in full: not in user_daily yet (`lacks_user_days`), or with `days` that are not regrouped yet.
SELECT month, lacks_user_days, days
FROM (
  SELECT m.month, m.fingerprint IS NULL AS lacks_user_days,
    ARRAY(SELECT DISTINCT t.date FROM {job.touched_days} AS t
          WHERE date_trunc('month', t.date) = m.month ORDER BY 1) AS days
  FROM {job.months} AS m WHERE m.month = ANY(%s::date[])
) AS m WHERE lacks_user_days OR days <> '{{}}' ORDER BY month

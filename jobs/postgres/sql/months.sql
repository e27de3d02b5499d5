-- name: figures
-- Sums of user_monthly by month, and (month null) over all months of one currency: users, rows, a hash of users and
-- rows, amounts, and how many users have uncovered usage.
SELECT month, count(*) AS users, coalesce(sum(row_count), 0)::bigint AS row_count,
  coalesce(bit_xor(hash_record_extended(ROW(user_id, usage_hash), 0)), 0) AS usage_hash,
  coalesce(sum(total_cost), 0) AS total_cost, coalesce(sum(credits_deducted), 0) AS credits_deducted,
  coalesce(sum(uncovered), 0) AS uncovered, coalesce(sum(amount_due), 0) AS amount_due,
  coalesce(sum(amount_reported), 0) AS amount_reported, coalesce(sum(amount_free), 0) AS amount_free,
  count(DISTINCT user_id) FILTER (WHERE uncovered > 0) AS users_ran_out
FROM (
  SELECT month, user_id, row_count, usage_hash, total_cost, credits_deducted, uncovered, amount_due, amount_reported,
    amount_free, month = ANY(%(summed)s::date[]) AS is_summed
  FROM {job.user_monthly} WHERE month = ANY(%(months)s::date[])
) AS u
GROUP BY GROUPING SETS ((month), (is_summed)) HAVING month IS NOT NULL OR is_summed

-- name: ran_out
-- Users with prepaid usage that no credit pays for.
SELECT user_id, month, uncovered FROM {job.user_monthly}
WHERE month = ANY(%(months)s::date[]) AND uncovered > 0 ORDER BY user_id, month

-- name: day_costs
-- The cost of each day: covered days by cluster_daily, later days by user_daily, as far as they are stored.
SELECT date, sum(total_cost) FROM {job.cluster_daily}
WHERE date BETWEEN %(since)s::date AND %(covered)s::date GROUP BY date
UNION ALL
SELECT date, sum(total_cost) FROM {job.user_daily}
WHERE date > %(covered)s::date AND date <= %(last)s::date GROUP BY date

-- name: all
-- The months that runs have covered. Where a month has no currency yet (older versions), it is that of its users' rows.
SELECT month, closed_at IS NOT NULL AS closed, cost_mode AS modes, coalesce(row_count, 0) AS rows, usage_hash AS hashes,
  rates_hash AS rates, total_cost AS totals, fingerprint AS fingerprint_definitions,
  coalesce(currency, (SELECT u.currency FROM {job.user_monthly} AS u WHERE u.month = m.month LIMIT 1)) AS currencies
FROM {job.months} AS m WHERE {is_covered}

-- name: new_months
-- Months of which nothing is stored yet.
SELECT w.month FROM unnest(%(months)s::date[]) AS w(month)
WHERE NOT EXISTS (SELECT FROM {job.months} AS m WHERE m.month = w.month AND {is_covered})
  AND NOT EXISTS (SELECT FROM {job.user_monthly} AS u WHERE u.month = w.month)

-- name: has_user_days
-- Whether user_daily has any row on some days.
SELECT EXISTS (SELECT FROM {job.user_daily} WHERE {days})

-- name: is_covered
-- A condition: a run has covered a month, ``m`` in rollup.months, or died after writing something of it.
(m.row_count IS NOT NULL OR m.closed_at IS NOT NULL OR EXISTS (SELECT FROM {job.user_monthly} AS u WHERE u.month = m.month))

-- name: record_modes
-- Stores the cost mode and the currency of months: the first run that covers one decides, before it writes anything
-- else. A run that died before it wrote anything of the month has not covered it.
INSERT INTO {job.months} AS m (month, cost_mode, fingerprint, currency)
SELECT * FROM unnest(%(months)s::date[], %(modes)s::text[], %(fingerprints)s::text[], %(currencies)s::text[])
ON CONFLICT (month) DO UPDATE
SET cost_mode = EXCLUDED.cost_mode, fingerprint = EXCLUDED.fingerprint, currency = EXCLUDED.currency
WHERE NOT {is_covered}

-- name: update
-- Stores the figures of a month, and closes it where it is due; a month closes once. Unchanged rows are not written.
UPDATE {job.months} AS m
SET row_count = %(row_count)s, usage_hash = %(usage_hash)s, rates_hash = %(rates_hash)s,
    total_cost = %(total_cost)s, fingerprint = %(fingerprint)s,
    currency = coalesce(m.currency, %(currency)s),
    closed_at = CASE WHEN %(closes)s THEN now() ELSE m.closed_at END,
    closed_by = CASE WHEN %(closes)s THEN %(run_id)s ELSE m.closed_by END
WHERE m.month = %(month)s
  AND ((m.row_count, m.usage_hash, m.rates_hash, m.total_cost, m.fingerprint)
       IS DISTINCT FROM (%(row_count)s::bigint, %(usage_hash)s::bigint, %(rates_hash)s::text,
                         %(total_cost)s::numeric, %(fingerprint)s::text)
       OR m.currency IS NULL OR %(closes)s)

-- name: figures_of_months
-- Some months as one text each, with the values that a person sees; '' where no run has finished the month.
SELECT month, coalesce(concat_ws(' ', row_count, rates_hash, total_cost,
  CASE WHEN closed_at IS NOT NULL THEN 'closed' END), '')
FROM {job.months} WHERE month = ANY(%s)

-- name: reopen
-- Opens a closed month: the next run covers it like any open month.
UPDATE {job.months} SET closed_at = NULL, closed_by = NULL WHERE month = %s

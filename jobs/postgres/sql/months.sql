-- name: figures
-- What user_monthly comes to, by month and (month null) in all months of one currency: users, rows, a hash of whose rows
-- they are, sums, and how many users have usage that no credit covers.
SELECT month, count(*) AS users, coalesce(sum(row_count), 0)::bigint AS row_count,
  coalesce(bit_xor(hash_record_extended(ROW(user_id, usage_hash), 0)), 0) AS usage_hash,
  coalesce(sum(total_cost), 0) AS total_cost, coalesce(sum(credits_deducted), 0) AS credits_deducted,
  coalesce(sum(uncovered), 0) AS uncovered, coalesce(sum(amount_due), 0) AS amount_due,
  coalesce(sum(amount_reported), 0) AS amount_reported, coalesce(sum(amount_free), 0) AS amount_free,
  count(DISTINCT user_id) FILTER (WHERE uncovered > 0) AS users_ran_out
FROM (
  SELECT month, user_id, row_count, usage_hash, total_cost, credits_deducted, uncovered, amount_due, amount_reported,
    amount_free, month = ANY(%(summed)s::date[]) AS is_summed
  FROM {user_monthly} WHERE month = ANY(%(months)s::date[])
) AS u
GROUP BY GROUPING SETS ((month), (is_summed)) HAVING month IS NOT NULL OR is_summed

-- name: ran_out
-- Who has prepaid usage that no credit covers.
SELECT user_id, month, uncovered FROM {user_monthly}
WHERE month = ANY(%(months)s::date[]) AND uncovered > 0 ORDER BY user_id, month

-- name: day_costs
-- What days cost: those that are covered, and what is stored of those that are not.
SELECT date, sum(total_cost) FROM {cluster_daily}
WHERE date BETWEEN %(since)s::date AND %(covered)s::date GROUP BY date
UNION ALL
SELECT date, sum(total_cost) FROM {user_daily}
WHERE date > %(covered)s::date AND date <= %(last)s::date GROUP BY date

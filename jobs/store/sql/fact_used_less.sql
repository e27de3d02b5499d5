-- Whether everybody who was drawn free credits by us has used less than was drawn, and no month was computed without the
-- column of free credits used: then these were counted apart, in a column that is gone, and would be given a second time.
SELECT coalesce(bool_and(a.total_used < d.amount), false)
  AND NOT EXISTS (SELECT FROM {user_monthly} WHERE strpos(credits_hash, '-one-') > 0)
FROM (
  SELECT user_id, sum(free + purchased) AS amount FROM {credit_draws} WHERE NOT imported GROUP BY 1 HAVING sum(free) > 0
) AS d
JOIN {accounts} AS a ON a.user_id = d.user_id

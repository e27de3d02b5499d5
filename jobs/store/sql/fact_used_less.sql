-- Whether everybody who was drawn free credits has used less than was drawn: then free credits used were counted apart,
-- in a column that is gone, and would be given a second time. Whoever's transactions disagree with the ledger is none of
-- them: a copy of it was restored.
SELECT coalesce(bool_and(a.total_used < d.amount), false)
FROM (SELECT user_id, sum(free + purchased) AS amount FROM {credit_draws} GROUP BY user_id HAVING sum(free) > 0) AS d
JOIN {accounts} AS a ON a.user_id = d.user_id
WHERE {agrees}

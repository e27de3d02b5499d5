-- An account has used at least what we have drawn from it.
SELECT d.user_id AS key, d.amount AS left_, CASE WHEN {used} >= d.amount THEN d.amount ELSE {used} END AS right_
FROM (SELECT user_id, sum(free + purchased) AS amount FROM {draws} WHERE NOT imported GROUP BY 1) AS d
JOIN {accounts} AS a ON a.user_id = d.user_id

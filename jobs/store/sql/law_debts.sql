-- Of closed months that have debts: what user_monthly says is uncovered, and what was not settled of the debts.
SELECT d.user_id || ' ' || to_char(d.month, 'YYYY-MM') AS key, m.uncovered AS left_, d.amount AS right_
FROM (
  SELECT user_id, date_trunc('month', usage_date)::date AS month, sum(amount - settled) AS amount
  FROM {debts} GROUP BY 1, 2
) AS d
JOIN {months} AS o ON o.month = d.month AND o.closed_at IS NOT NULL
LEFT JOIN {user_monthly} AS m ON m.user_id = d.user_id AND m.month = d.month
WHERE d.month = ANY(%(covered)s)

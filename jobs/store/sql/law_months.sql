-- Invariant 1: the sum that rollup.months has of a month is the sum of its users. Months with a day that is not regrouped
-- yet are left out: a run writes both at its end.
SELECT to_char(m.month, 'YYYY-MM') AS key, m.total_cost AS left_,
  coalesce((SELECT sum(u.total_cost) FROM {user_monthly} AS u WHERE u.month = m.month), 0) AS right_
FROM {months} AS m WHERE m.month BETWEEN %(first)s AND %(last)s AND m.total_cost IS NOT NULL
  AND m.month NOT IN (SELECT date_trunc('month', date)::date FROM {touched_days})

-- Invariant 1: every amount by user, by cluster and month, and by cluster and day. One row per month and column. Months
-- with a day that is not regrouped yet are left out.
SELECT to_char(month, 'YYYY-MM') || ' ' || name AS key, users AS left_, {which} AS right_ FROM (
  SELECT month, name, sum(users) AS users, sum(months) AS months, sum(days) AS days FROM ({sums}) AS s
  GROUP BY month, name
) AS s
WHERE month NOT IN (SELECT date_trunc('month', date)::date FROM {touched_days})

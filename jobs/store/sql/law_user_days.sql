-- Invariant 1: user_monthly is a GROUP BY of user_daily. Months of the first edition, which had no user_daily, are left out.
SELECT coalesce(d.user_id, m.user_id) || ' ' || to_char(coalesce(d.month, m.month), 'YYYY-MM') AS key,
  coalesce(d.total_cost, 0) AS left_,
  coalesce(m.total_cost, 0) AS right_,
  {difference} AS difference
FROM (
  SELECT user_id, date_trunc('month', date)::date AS month, {sums} FROM {user_daily}
  WHERE date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' GROUP BY 1, 2
) AS d
FULL JOIN (SELECT user_id, month, {columns} FROM {user_monthly} WHERE month BETWEEN %(first)s AND %(last)s) AS m
  ON m.user_id = d.user_id AND m.month = d.month
WHERE EXISTS (SELECT FROM {months} AS k WHERE k.month = coalesce(d.month, m.month) AND k.fingerprint IS NOT NULL)

-- Months of which nothing is stored yet.
SELECT w.month FROM unnest(%s::date[]) AS w(month)
WHERE NOT EXISTS (SELECT FROM {months} AS m WHERE m.month = w.month AND {is_covered})
  AND NOT EXISTS (SELECT FROM {user_monthly} AS u WHERE u.month = w.month)

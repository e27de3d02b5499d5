-- Months of which nothing is stored yet.
SELECT m.month FROM unnest(%s::date[]) AS m(month)
WHERE NOT EXISTS (SELECT FROM {months} AS k WHERE k.month = m.month)
  AND NOT EXISTS (SELECT FROM {user_monthly} AS u WHERE u.month = m.month)

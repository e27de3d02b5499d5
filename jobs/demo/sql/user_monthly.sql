-- The user-months with the highest cost.
SELECT to_char(month, 'YYYY-MM') AS month, user_id, days, round(cpu_hours, 2) AS cpu_hours,
  round(storage_gb, 2) AS gb_months, round(total_cost, 4) AS total_cost, round(credits_deducted, 2) AS drawn,
  round(uncovered, 2) AS uncovered, round(amount_due, 2) AS due
FROM rollup.user_monthly ORDER BY rollup.user_monthly.total_cost DESC, user_id, month LIMIT 12

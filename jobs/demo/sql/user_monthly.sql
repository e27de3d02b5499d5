-- The dearest user-months.
SELECT to_char(month, 'YYYY-MM') AS month, user_id, days, round(cpu_hours, 2) AS cpu_hours,
  round(storage_gb, 2) AS gb_months, round(adjustment_cost, 4) AS adjustment, round(total_cost, 4) AS total_cost
FROM rollup.user_monthly ORDER BY rollup.user_monthly.total_cost DESC, user_id, month LIMIT 12

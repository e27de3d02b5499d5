-- The month with the most days of the user with price overrides, as an example for `explain`.
SELECT to_char(month, 'YYYY-MM') AS month FROM rollup.user_monthly WHERE user_id = 'auth0|demo-override'
ORDER BY days DESC, user_monthly.month LIMIT 1

-- How many users each month of the window has in the roll-up.
SELECT month, count(*) FROM {user_monthly} WHERE month = ANY(%s) GROUP BY month

-- What the whole ledger says of some users' rows.
SELECT user_id, usage_daily_id, sum(free), sum(purchased) FROM {draws} WHERE user_id = ANY({users}) GROUP BY 1, 2

-- Rows of some users on which draws were adopted in a month that is not computed now, even if they were given back since.
SELECT DISTINCT usage_daily_id, user_id FROM {draws}
WHERE user_id = ANY({users}) AND imported AND date_trunc('month', usage_date)::date <> ALL(%(months)s::date[])

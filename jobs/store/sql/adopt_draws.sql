-- Draws of another program, as draws of revision 0.
INSERT INTO {draws} (usage_daily_id, user_id, revision, usage_date, free, purchased, imported, run_id)
SELECT usage_daily_id, user_id, revision, usage_date, free, purchased, imported, %(run_id)s FROM {adoptable}
ORDER BY user_id, usage_date, usage_daily_id

-- Which of some rows are rejected already, and why.
SELECT usage_daily_id::text, concat_ws(' ', reason, row) FROM {rejects} WHERE usage_daily_id = ANY(%s::uuid[])

-- Rows that are none any more leave.
DELETE FROM {rejects} WHERE usage_daily_id = ANY(%(ids)s::uuid[])

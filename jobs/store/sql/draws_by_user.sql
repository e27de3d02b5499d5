-- The draws of some users in some months.
CREATE INDEX IF NOT EXISTS credit_draws_user_id_usage_date ON {draws} (user_id, usage_date)

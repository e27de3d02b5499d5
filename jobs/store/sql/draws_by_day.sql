-- The draws of all users in some months: the table lies nearly by day, so that a small index of its blocks is enough.
CREATE INDEX IF NOT EXISTS credit_draws_usage_date ON {draws} USING brin (usage_date) WITH (autosummarize = on)

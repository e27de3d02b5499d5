-- Which months hold draws of another program is asked every night: almost always none.
CREATE INDEX IF NOT EXISTS credit_draws_adopted ON {draws} (usage_date) WHERE revision = 0

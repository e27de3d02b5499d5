-- What a batch reads of its users.
CREATE INDEX IF NOT EXISTS debts_user_id ON {debts} (user_id)

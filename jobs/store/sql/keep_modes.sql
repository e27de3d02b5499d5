-- The first run that covers a month decides its cost mode, before anything is written under it.
INSERT INTO {months} (month, cost_mode, fingerprint) VALUES (%(month)s, %(cost_mode)s, %(fingerprint)s)
ON CONFLICT (month) DO NOTHING

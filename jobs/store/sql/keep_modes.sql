-- The first run that covers a month decides its cost mode and its currency, before anything is written under it.
INSERT INTO {months} (month, cost_mode, fingerprint, currency)
VALUES (%(month)s, %(cost_mode)s, %(fingerprint)s, %(currency)s)
ON CONFLICT (month) DO NOTHING

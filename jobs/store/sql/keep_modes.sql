-- The first run that covers a month decides its cost mode and its currency, before anything is written under it. One that
-- died before it wrote anything of the month has not covered it.
INSERT INTO {months} AS m (month, cost_mode, fingerprint, currency)
VALUES (%(month)s, %(cost_mode)s, %(fingerprint)s, %(currency)s)
ON CONFLICT (month) DO UPDATE
SET cost_mode = EXCLUDED.cost_mode, fingerprint = EXCLUDED.fingerprint, currency = EXCLUDED.currency WHERE NOT {is_covered}

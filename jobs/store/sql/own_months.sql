-- The REST API puts the verified token's claims into this setting, for the length of a request.
CREATE POLICY own_months ON {table} FOR SELECT TO authenticated USING ({own})

-- The new run's row; it is the fence of everything that the run writes.
INSERT INTO {runs} (kind, window_from, window_to, reason, status, rates_hash, version, plan, who, inputs)
VALUES (%(kind)s, %(window_from)s, %(window_to)s, %(reason)s, 'running', %(rates_hash)s, %(version)s, %(plan)s::jsonb,
  %(who)s, %(inputs)s::jsonb)
ON CONFLICT DO NOTHING
RETURNING run_id

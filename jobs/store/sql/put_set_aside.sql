-- Of whom nothing can be written.
INSERT INTO {set_aside} AS s (user_id, reason, run_id)
SELECT user_id, reason, %(run_id)s FROM unnest(%(users)s::text[], %(reasons)s::text[]) AS u(user_id, reason)
ON CONFLICT (user_id) DO UPDATE SET reason = EXCLUDED.reason, run_id = EXCLUDED.run_id

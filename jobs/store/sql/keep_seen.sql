-- The last covered day on which overrides were seen active; it never goes back.
INSERT INTO {overrides_seen} AS s (override_id, last_active_day)
SELECT override_id, %(day)s FROM unnest(%(ids)s::text[]) AS o(override_id)
ON CONFLICT (override_id) DO UPDATE SET last_active_day = EXCLUDED.last_active_day
WHERE s.last_active_day < EXCLUDED.last_active_day

-- The last covered day on which overrides were seen active. It never goes back, but to `latest`, where a run whose clock was
-- ahead has kept a later one.
INSERT INTO {overrides_seen} AS s (override_id, last_active_day)
SELECT override_id, %(day)s FROM unnest(%(ids)s::text[]) AS o(override_id)
UNION ALL
SELECT override_id, %(latest)s FROM {overrides_seen} WHERE last_active_day > %(latest)s AND override_id <> ALL(%(ids)s::text[])
ON CONFLICT (override_id) DO UPDATE SET last_active_day = EXCLUDED.last_active_day
WHERE s.last_active_day < EXCLUDED.last_active_day OR s.last_active_day > %(latest)s

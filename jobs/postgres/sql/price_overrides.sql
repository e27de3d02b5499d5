-- name: of_days
-- Overrides that apply on some day of the window: the UTC days that [from, until) touches, and their precedence. Where
-- the table has `active`, an override that is no longer active applies up to the last covered day on which a run saw it
-- active, but not after `latest`: a run whose clock was ahead may have stored a later day.
SELECT
  id::text AS id,
  user_id,
  resource_type,
  CASE WHEN isfinite(starts) THEN (starts AT TIME ZONE 'UTC')::date END AS first,
  least(
    CASE WHEN isfinite(valid_until) THEN (valid_until AT TIME ZONE 'UTC' - interval '1 microsecond')::date END,
    last_active_day
  ) AS last,
  is_active,
  round(override_price, 10) AS price,
  round(discount_percentage, 10) AS discount,
  row_number() OVER (ORDER BY starts, created_at NULLS FIRST, id::text COLLATE "C") AS rank
FROM (
  SELECT id, user_id, resource_type, override_price::numeric, discount_percentage::numeric,
    {valid_until} AS valid_until, {created_at} AS created_at, {starts} AS starts,
    {active} AS is_active, CASE WHEN {active} THEN NULL ELSE least(s.last_active_day, %(latest)s) END AS last_active_day
  FROM {app.user_pricing_overrides} LEFT JOIN {job.overrides_seen} AS s ON s.override_id = id::text
  WHERE {active} OR s.last_active_day IS NOT NULL
) AS o
WHERE coalesce(last_active_day, 'infinity') >= %(first)s::date
  AND starts < (coalesce(last_active_day, 'infinity') + 1)::timestamptz
  AND starts < coalesce(valid_until, 'infinity')
  AND starts < (%(last)s::date + 1)::timestamptz
  AND coalesce(valid_until, 'infinity') > %(first)s::date::timestamptz

-- name: hashes
-- The hash of the price overrides by which user-months were priced.
SELECT user_id, month, overrides_hash FROM {job.user_monthly}
WHERE month = ANY(%(months)s::date[]) AND row_count IS NOT NULL
  AND (overrides_hash IS NOT NULL OR user_id = ANY(%(users)s))

-- name: record_seen
-- Stores the last covered day on which overrides were seen active. It never decreases, except to `latest`, where a run
-- whose clock was ahead has stored a later day.
INSERT INTO {job.overrides_seen} AS s (override_id, last_active_day)
SELECT override_id, %(day)s FROM unnest(%(ids)s::text[]) AS o(override_id)
UNION ALL
SELECT override_id, %(latest)s FROM {job.overrides_seen}
WHERE last_active_day > %(latest)s AND override_id <> ALL(%(ids)s::text[])
ON CONFLICT (override_id) DO UPDATE SET last_active_day = EXCLUDED.last_active_day
WHERE s.last_active_day < EXCLUDED.last_active_day OR s.last_active_day > %(latest)s

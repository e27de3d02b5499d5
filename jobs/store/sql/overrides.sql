-- Overrides in force on some day of the window: the UTC days that [from, until) touches, and their precedence. Where they
-- have `active`, one that is not any more holds up to the last covered day on which a run has seen it active, which is not
-- after `latest`: a run whose clock was ahead may have kept a later one.
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
  FROM {overrides} LEFT JOIN {overrides_seen} AS s ON s.override_id = id::text
  WHERE {active} OR s.last_active_day IS NOT NULL
) AS o
WHERE coalesce(last_active_day, 'infinity') >= %(first)s::date
  AND starts < (coalesce(last_active_day, 'infinity') + 1)::timestamptz
  AND starts < coalesce(valid_until, 'infinity')
  AND starts < (%(last)s::date + 1)::timestamptz
  AND coalesce(valid_until, 'infinity') > %(first)s::date::timestamptz

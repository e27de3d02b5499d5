-- Overrides in force on some day of the window: the UTC days that [from, until) touches, and their precedence.
SELECT
  id::text AS id,
  user_id,
  resource_type,
  CASE WHEN isfinite(starts) THEN (starts AT TIME ZONE 'UTC')::date END AS first,
  CASE WHEN isfinite(valid_until) THEN (valid_until AT TIME ZONE 'UTC' - interval '1 microsecond')::date END AS last,
  round(override_price, 10) AS price,
  round(discount_percentage, 10) AS discount,
  row_number() OVER (ORDER BY starts, created_at NULLS FIRST, id::text COLLATE "C") AS rank
FROM (
  SELECT id, user_id, resource_type, override_price::numeric, discount_percentage::numeric,
    {valid_until} AS valid_until, {created_at} AS created_at, {starts} AS starts
  FROM {overrides}
  WHERE {active}
) AS o
WHERE starts < coalesce(valid_until, 'infinity')
  AND starts < (%(last)s::date + 1)::timestamptz
  AND coalesce(valid_until, 'infinity') > %(first)s::date::timestamptz

-- name: append
-- Adds entries to the history. The table is append-only, so an existing entry stays as it is.
INSERT INTO {job.billing_modes} (user_id, valid_from, mode, run_id)
SELECT user_id, valid_from, mode, {run_id} FROM ({entries}) AS e
ON CONFLICT (user_id, valid_from) DO NOTHING

-- name: entries
-- The stored entries of some users, and those to be added.
SELECT user_id, valid_from, mode, false AS is_new FROM {job.billing_modes} WHERE {some}
UNION ALL
SELECT user_id, valid_from, mode, true FROM ({pending}) AS p

-- name: known
-- Entries that are known already.
SELECT * FROM unnest({users}::text[], {days}::date[], {modes}::text[]) AS e(user_id, valid_from, mode)

-- name: mode
-- The billing mode that counts.
billing_mode::text

-- name: mode_by_flag
-- The same with a feature flag: a prepaid user without it is postpaid.
CASE WHEN billing_mode::text = 'prepaid'
  AND coalesce(feature_flags -> {flag}, 'null') IN ('null', 'false')
  AND NOT (jsonb_typeof(feature_flags) = 'array' AND feature_flags ? {flag}) IS TRUE
  THEN 'postpaid' ELSE billing_mode::text END

-- name: missing
-- The entries to be added.
{pending}

-- name: pending
-- Users whose billing mode now differs from the newest entry of the history, or who have no entry. A user gets one
-- entry a day: a second change on the same day gets an entry on the next day.
SELECT user_id, CASE WHEN newest.valid_from IS NULL THEN date '0001-01-01' ELSE {day}::date END AS valid_from, u.mode
FROM (SELECT id::text AS user_id, {effective} AS mode FROM {app.users} WHERE id IS NOT NULL) AS u
LEFT JOIN (
  SELECT DISTINCT ON (user_id) user_id, valid_from, mode FROM {job.billing_modes} WHERE {some}
  ORDER BY user_id, valid_from DESC
) AS newest USING (user_id)
WHERE {some}
  AND (newest.valid_from IS NULL OR (newest.mode IS DISTINCT FROM u.mode AND newest.valid_from < {day}::date))

-- name: nothing_pending
-- No entries, where there are no billing modes, or no day on which a change would be valid.
SELECT NULL::text AS user_id, NULL::date AS valid_from, NULL::text AS mode WHERE false

-- name: unknown
-- Billing modes that are not one of the three: how many users have each, and the first of them.
SELECT billing_mode::text, count(*), min(id::text) FROM {app.users}
WHERE billing_mode::text NOT IN ('prepaid', 'postpaid', 'free') GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3

-- How each user pays now, where the history says otherwise or nothing: users.billing_mode itself keeps none.
-- A day has one entry of a user: what comes after it is the next day's.
SELECT user_id, CASE WHEN newest.valid_from IS NULL THEN date '0001-01-01' ELSE {day}::date END AS valid_from, u.mode
FROM (SELECT id::text AS user_id, {effective} AS mode FROM {users} WHERE id IS NOT NULL) AS u
LEFT JOIN (
  SELECT DISTINCT ON (user_id) user_id, valid_from, mode FROM {modes} WHERE {some} ORDER BY user_id, valid_from DESC
) AS newest USING (user_id)
WHERE {some} AND (newest.valid_from IS NULL OR (newest.mode IS DISTINCT FROM u.mode AND newest.valid_from < {day}::date))

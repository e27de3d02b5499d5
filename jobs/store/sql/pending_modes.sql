-- How each user pays now, where the history says otherwise or nothing: users.billing_mode itself keeps none.
-- A day has one entry of a user: what comes after it is the next day's.
SELECT u.id, CASE WHEN newest.user_id IS NULL THEN date '0001-01-01' ELSE %(day)s::date END, u.mode
FROM (SELECT id::text AS id, {effective} AS mode FROM {users} WHERE id IS NOT NULL) AS u
LEFT JOIN (SELECT DISTINCT ON (user_id) user_id, valid_from, mode FROM {modes} ORDER BY user_id, valid_from DESC) AS newest
  ON newest.user_id = u.id
WHERE newest.user_id IS NULL OR (newest.mode IS DISTINCT FROM u.mode AND newest.valid_from < %(day)s::date)
ORDER BY u.id

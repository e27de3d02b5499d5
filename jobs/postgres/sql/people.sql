-- name: people
-- Users with their names and e-mail addresses; {name}, {email}: the column, or null where it may not be read.
SELECT id::text AS user_id, {name} AS name, {email} AS email
FROM {app.users}
WHERE id::text = ANY(%(users)s)

-- name: join
-- Names and e-mail addresses of all users, beside the user of a row: what may be read of them.
LEFT JOIN (SELECT id::text AS id, {columns} FROM {app.users} GROUP BY id::text) AS p ON p.id = g.user_id

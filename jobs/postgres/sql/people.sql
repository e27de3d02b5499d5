-- name: columns
-- The columns of users with names and e-mail addresses, and whether this role may read them.
SELECT a.attname,
  has_schema_privilege(c.relnamespace, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT') AS may_read
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relname = 'users'
  AND a.attname IN ('id', 'name', 'email')
ORDER BY a.attnum

-- name: people
-- Users with their names and e-mail addresses; {name}, {email}: the column, or null where it may not be read.
SELECT id::text AS user_id, {name} AS name, {email} AS email
FROM {app.users}
WHERE id::text = ANY(%(users)s)

-- name: join
-- Names and e-mail addresses of all users, beside the user of a row: what may be read of them.
LEFT JOIN (SELECT id::text AS id, {columns} FROM {app.users} GROUP BY id::text) AS p ON p.id = g.user_id

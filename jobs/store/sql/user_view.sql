-- security_invoker: read with the rights, and behind the row-level security, of who asks. The condition stands here too,
-- so that a role which passes every wall sees no more in it than the name promises.
CREATE VIEW {view} WITH (security_invoker = true, security_barrier = true) AS
SELECT {columns} FROM {table} WHERE {own}

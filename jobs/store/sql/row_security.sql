-- Row-level security of the given tables: whether it is on and in force for this role, which actions some permissive
-- policy lets it take, and on which of these the policies leave no row out.
WITH policies AS (
  SELECT p.polrelid, a.action, p.polpermissive AS permissive,
    coalesce(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) = 'true' AS everything
  FROM pg_policy p
  JOIN (VALUES ('r', 'SELECT'), ('w', 'UPDATE'), ('a', 'INSERT'), ('d', 'DELETE')) AS a(cmd, action)
    ON p.polcmd::text IN ('*', a.cmd)
  WHERE 0 = ANY(p.polroles)
     OR EXISTS (SELECT FROM unnest(p.polroles) AS r(oid) WHERE r.oid <> 0 AND pg_has_role(current_user, r.oid, 'USAGE'))
), by_action AS (
  SELECT polrelid, action, bool_or(permissive) AS passed,
    bool_and(permissive) AND bool_or(everything) AS open
  FROM policies GROUP BY polrelid, action
)
SELECT
  c.relname AS table_name,
  c.relrowsecurity AS is_on,
  row_security_active(c.oid) AS in_force,
  ARRAY(SELECT action FROM by_action AS b WHERE b.polrelid = c.oid AND b.passed) AS passed,
  ARRAY(SELECT action FROM by_action AS b WHERE b.polrelid = c.oid AND b.open) AS open
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p')

-- Tables whose row-level security applies to this role, and whether any permissive policy lets it read rows.
SELECT
  c.relname AS table_name,
  EXISTS (
    SELECT FROM pg_policy p
    WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('r', '*')
      AND (0 = ANY(p.polroles) OR EXISTS (
        SELECT FROM unnest(p.polroles) AS r(oid) WHERE pg_has_role(current_user, r.oid, 'USAGE')))
  ) AS has_policy
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND row_security_active(c.oid)

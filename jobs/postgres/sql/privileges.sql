-- name: role
-- Role attributes, memberships and ownership by which this role bypasses grants.
SELECT
  CASE WHEN r.rolsuper THEN ARRAY['superuser'] ELSE array_remove(ARRAY[
    CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
    CASE WHEN r.rolcreatedb THEN 'CREATEDB' END,
    CASE WHEN r.rolreplication THEN 'REPLICATION' END,
    CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END
  ] || ARRAY(
    SELECT 'member of ' || m.roleid::regrole::text FROM pg_auth_members m WHERE m.member = r.oid ORDER BY 1
  ) || ARRAY(
    SELECT DISTINCT 'owner of tables in schema ' || n.nspname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p') AND c.relowner = r.oid ORDER BY 1
  ) || ARRAY(
    SELECT 'CREATE on schema ' || n.nspname FROM pg_namespace n
    WHERE n.nspname = ANY(%(schemas)s) AND has_schema_privilege(n.oid, 'CREATE') ORDER BY 1
  ) || CASE WHEN has_database_privilege(current_database(), 'CREATE')
       THEN ARRAY['CREATE on database ' || current_database()] END, NULL) END AS bypasses,
  r.rolsuper OR EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s) AND c.relname = 'usage_daily' AND pg_has_role(c.relowner, 'USAGE')
  ) AS owns_all
FROM pg_roles r WHERE r.rolname = current_user

-- name: privileges
-- Every privilege of this role on tables and sequences of these schemas: by column where the privilege allows that.
SELECT n.nspname AS schema, c.relname AS table, x.column, quote_ident(x.column) AS quoted, x.attnum, x.action AS right,
  format('TABLE %%I.%%I', n.nspname, c.relname) AS place
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT NULL::text AS column, t.action, 0 AS attnum
  FROM (VALUES ('DELETE'), ('TRUNCATE'), ('TRIGGER')) AS t(action) WHERE has_table_privilege(c.oid, t.action)
  UNION ALL
  SELECT a.attname::text, t.action, a.attnum
  FROM pg_attribute a CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('REFERENCES')) AS t(action)
  WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attnum > 0 AND has_column_privilege(c.oid, a.attnum, t.action)
) AS x
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT n.nspname, c.relname, NULL, NULL, 0, t.action, format('SEQUENCE %%I.%%I', n.nspname, c.relname)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN (VALUES ('USAGE'), ('SELECT'), ('UPDATE')) AS t(action)
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind = 'S' AND has_sequence_privilege(c.oid, t.action)
ORDER BY 1, 2, 5, 6

-- name: make_role
-- Creates the login role, with a comment that marks it as the job's own. Its password is set separately (\password in
-- psql), so that no history contains it.
DO $role$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {quoted}) THEN
    CREATE ROLE {role} LOGIN;
    COMMENT ON ROLE {role} IS {mark};
  END IF;
END
$role$

-- name: narrow_role
-- Revokes all earlier grants of the role in this database; the grants that the job needs follow.
DO $narrow$
DECLARE
  granted record;
BEGIN
  FOR granted IN
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.oid::regclass AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY({schemas}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND (
      EXISTS (SELECT FROM aclexplode(c.relacl) AS a JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = {quoted})
      OR EXISTS (SELECT FROM pg_attribute t, aclexplode(t.attacl) AS a JOIN pg_roles r ON r.oid = a.grantee
                 WHERE t.attrelid = c.oid AND r.rolname = {quoted}))
  LOOP
    EXECUTE format('REVOKE ALL ON %s %s FROM %I', granted.kind, granted.name, {quoted});
  END LOOP;
  FOR granted IN
    SELECT n.nspname AS name FROM pg_namespace n, aclexplode(n.nspacl) AS a JOIN pg_roles r ON r.oid = a.grantee
    WHERE n.nspname = ANY({schemas}) AND r.rolname = {quoted}
  LOOP
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', granted.name, {quoted});
  END LOOP;
  FOR granted IN
    SELECT d.datname AS name FROM pg_database d, aclexplode(d.datacl) AS a JOIN pg_roles r ON r.oid = a.grantee
    WHERE d.datname = current_database() AND r.rolname = {quoted}
  LOOP
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', granted.name, {quoted});
  END LOOP;
END
$narrow$

-- name: comment_on_role
-- The comment on a role; no row where there is no such role.
SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s

-- What makes this role mightier than any grant: attributes, memberships, ownership.
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
  ) || CASE WHEN has_database_privilege(current_database(), 'CREATE') THEN ARRAY['CREATE on database ' || current_database()] END, NULL) END AS mighty,
  r.rolsuper OR EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s) AND c.relname = 'usage_daily' AND pg_has_role(c.relowner, 'USAGE')
  ) AS owns_all
FROM pg_roles r WHERE r.rolname = current_user

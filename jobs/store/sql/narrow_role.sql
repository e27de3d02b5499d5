-- Whatever the role was granted here before goes; what the job does follows.
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

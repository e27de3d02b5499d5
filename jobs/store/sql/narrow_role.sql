-- Whatever the role was granted in these schemas before goes; what the job does follows.
DO $narrow$
DECLARE
  granted regclass;
BEGIN
  FOR granted IN
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY({schemas}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (
      EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee = {quoted}::text::regrole)
      OR EXISTS (SELECT FROM pg_attribute t, aclexplode(t.attacl) AS a
                 WHERE t.attrelid = c.oid AND a.grantee = {quoted}::text::regrole))
  LOOP
    EXECUTE format('REVOKE ALL ON TABLE %s FROM %I', granted, {quoted});
  END LOOP;
END
$narrow$

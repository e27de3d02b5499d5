-- Supabase serves what anon and authenticated may reach over REST: our tables are not for them. By name, because the schema
-- may hold another program's tables as well. Row-level security is for the day on which somebody grants too much.
DO $walls$
DECLARE
  others text;
  ours regclass;
BEGIN
  SELECT string_agg(name, ', ') INTO others
  FROM (SELECT 'PUBLIC' AS name UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')) AS r;
  IF NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = quote_ident({quoted})::regnamespace
                 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> ALL({tables})) THEN
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %s', {quoted}, others);
  END IF;
  EXECUTE format('REVOKE ALL ON FUNCTION %I.refuse_change() FROM %s', {quoted}, others);
  EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM %s', pg_get_serial_sequence({runs}, 'run_id'), others);
  FOR ours IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = quote_ident({quoted})::regnamespace AND c.relkind = 'r'
    AND c.relname = ANY({tables})
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s', ours, others);
    IF NOT (SELECT relrowsecurity FROM pg_class WHERE oid = ours) THEN
      EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', ours);
    END IF;
  END LOOP;
END
$walls$

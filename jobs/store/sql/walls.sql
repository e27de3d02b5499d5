-- Supabase serves what anon and authenticated may reach over REST: this schema is not for them. Row-level security is the
-- second wall, for the day on which somebody grants too much.
DO $walls$
DECLARE
  somebody text;
  ours regclass;
BEGIN
  REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;
  REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC;
  REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM PUBLIC;
  REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC;
  FOR somebody IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', {quoted}, somebody);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', {quoted}, somebody);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA %I FROM %I', {quoted}, somebody);
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM %I', {quoted}, somebody);
  END LOOP;
  FOR ours IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = {quoted}::regnamespace AND c.relkind = 'r'
    AND c.relname = ANY({tables}) AND NOT c.relrowsecurity
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', ours);
  END LOOP;
END
$walls$

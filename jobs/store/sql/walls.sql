-- Supabase serves what anon and authenticated may reach over REST: this schema is not for them.
DO $walls$
DECLARE
  somebody text;
BEGIN
  REVOKE ALL ON SCHEMA {schema} FROM PUBLIC;
  REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC;
  FOR somebody IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', {quoted}, somebody);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', {quoted}, somebody);
  END LOOP;
END
$walls$

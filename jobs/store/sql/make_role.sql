-- A login role, marked as the job's own; its password is set apart (\password in psql), so that it stands in no history.
DO $role$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {quoted}) THEN
    CREATE ROLE {role} LOGIN;
    COMMENT ON ROLE {role} IS {mark};
  END IF;
END
$role$

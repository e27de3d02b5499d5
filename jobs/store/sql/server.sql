-- Who and what we talk to.
SELECT
  current_setting('server_version_num')::int AS version_number,
  current_setting('server_version') AS version,
  current_user AS role,
  pg_is_in_recovery() AS replica,
  (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS tls,
  to_regnamespace(%(own)s) IS NOT NULL AS has_schema,
  CASE WHEN to_regnamespace(%(own)s) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
       ELSE has_schema_privilege(%(own)s, 'USAGE') END AS may_use_schema

-- Who and what we talk to.
SELECT
  current_setting('server_version_num')::int AS version_number,
  current_setting('server_version') AS version,
  current_user AS role,
  quote_ident(current_user) AS quoted_role,
  current_database() AS database,
  quote_ident(current_database()) AS quoted_database,
  pg_is_in_recovery() AS replica,
  current_setting('default_transaction_read_only')::boolean AS read_only,
  to_regnamespace(quote_ident(%(own)s)) IS NOT NULL AS has_schema,
  CASE WHEN to_regnamespace(quote_ident(%(own)s)) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
       ELSE has_schema_privilege(%(own)s, 'USAGE') END AS may_use_schema,
  to_regnamespace(quote_ident(%(source)s)) IS NULL OR has_schema_privilege(%(source)s, 'USAGE') AS may_use_source,
  has_database_privilege(current_database(), 'TEMPORARY') AS may_stage,
  EXISTS (
    SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    JOIN pg_class AS c ON c.oid = i.indrelid AND c.relname = 'usage_daily'
    WHERE c.relnamespace = to_regnamespace(quote_ident(%(source)s)) AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'id'
  ) AS usage_by_id,
  ARRAY(SELECT relname::text FROM pg_class
        WHERE relnamespace = to_regnamespace(quote_ident(%(source)s)) AND relkind IN ('v', 'm', 'f')) AS views

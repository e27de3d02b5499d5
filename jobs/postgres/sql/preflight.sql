-- name: usage_storage
-- The storage of usage_daily: pages, bytes, the columns with which an index begins, rows by the statistics, and
-- fillfactor.
SELECT
  pg_relation_size(c.oid) / current_setting('block_size')::bigint AS pages,
  pg_relation_size(c.oid) AS size,
  ARRAY(SELECT a.attname::text FROM pg_index AS i
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL) AS indexed,
  greatest(c.reltuples, 0)::bigint AS rows,
  coalesce((SELECT o.option_value FROM pg_options_to_table(c.reloptions) AS o
            WHERE o.option_name = 'fillfactor'), '100')::int AS fillfactor
FROM pg_class AS c WHERE c.oid = to_regclass(%(usage)s)

-- name: exposure
-- How the REST API could reach our tables: exposed schemas, API roles with USAGE, views. pgrst.db_schemas is a setting
-- of PostgREST, stored with its login role. The view for signed-in users (schema --user-view) is intended: it needs
-- USAGE for authenticated.
WITH RECURSIVE readers AS (  -- views over our tables, and views over these
  SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %(own)s
  UNION
  SELECT w.ev_class FROM readers
  JOIN pg_depend d ON d.refobjid = readers.oid AND d.refclassid = 'pg_class'::regclass
    AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite w ON w.oid = d.objid
)
SELECT
  ARRAY(
    SELECT coalesce(s.setrole::regrole::text, 'all roles') || ' ' || replace(split_part(c.setting, '=', 2), '"', '')
    FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS c(setting)
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND c.setting LIKE 'pgrst.db%%schema%%=%%'
    ORDER BY 1
  ) AS exposed,
  ARRAY(
    SELECT r.rolname::text FROM pg_roles r
    WHERE r.rolname IN ('anon', 'authenticated') AND to_regnamespace(quote_ident(%(own)s)) IS NOT NULL
      AND has_schema_privilege(r.oid, to_regnamespace(quote_ident(%(own)s)), 'USAGE')
      AND NOT (r.rolname = 'authenticated'
               AND to_regclass(format('%%I.%%I', %(view_schema)s::text, %(view)s::text)) IS NOT NULL)
    ORDER BY 1
  ) AS roles,
  ARRAY(
    SELECT v.oid::regclass::text FROM readers JOIN pg_class v ON v.oid = readers.oid AND v.relkind IN ('v', 'm')
    WHERE NOT coalesce((SELECT o.option_value::boolean FROM pg_options_to_table(v.reloptions) AS o
                        WHERE o.option_name = 'security_invoker'), false)
    ORDER BY 1
  ) AS views

-- name: unknown_ids
-- Ids of users or clusters in recent usage that do not exist. Their usage is counted and priced all the same.
SELECT {column}::text AS missing, count(*) AS rows
FROM {app.usage_daily} AS u
WHERE u.date >= %(since)s AND isfinite(u.date) AND {column} IS NOT NULL
  AND NOT EXISTS (SELECT FROM {target} AS t WHERE t.id::text = u.{column}::text)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10

-- name: doubled_keys
-- The first values of a key that occur more than once.
SELECT {key} FROM {table} WHERE {key} IS NOT NULL GROUP BY {key} HAVING count(*) > 1 ORDER BY {key}::text LIMIT 3

-- name: count_inputs
-- The number of accounts and of price overrides, now and in the last finished run.
SELECT {accounts}, {overrides}, r.accounts, r.overrides
FROM (SELECT) AS one LEFT JOIN (
  SELECT accounts, overrides FROM {job.runs}
  WHERE kind IN ('run', 'backfill') AND status = 'done' ORDER BY run_id DESC LIMIT 1
) AS r ON true

-- name: usage_shape
-- How usage_daily lies on disk: its pages and bytes, whether an index leads to a user's days and to a day, by the
-- statistics its rows, and how full new rows make a page.
SELECT
  pg_relation_size(c.oid) / current_setting('block_size')::bigint,
  pg_relation_size(c.oid),
  EXISTS (SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
          WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'user_id'),
  EXISTS (SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
          WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'date'),
  greatest(c.reltuples, 0)::bigint,
  coalesce((SELECT o.option_value FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'fillfactor'), '100')::int
FROM pg_class AS c WHERE c.oid = to_regclass({quoted})

-- name: exposure
-- Ways from the REST API to our tables. pgrst.db_schemas is PostgREST's own setting, kept with the role that it logs in
-- as. The view for signed-in users (schema --user-view) is a way that was asked for: it needs USAGE for authenticated.
WITH RECURSIVE readers AS (  -- views over our tables, and views over these
  SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %(own)s
  UNION
  SELECT w.ev_class FROM readers
  JOIN pg_depend d ON d.refobjid = readers.oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass
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

-- name: orphans
-- Users and clusters that recent usage refers to and that do not exist: counted and priced all the same.
SELECT {column}::text AS missing, count(*) AS rows
FROM {usage} AS u
WHERE u.date >= %(since)s AND isfinite(u.date) AND {column} IS NOT NULL
  AND NOT EXISTS (SELECT FROM {target} AS t WHERE t.id::text = u.{column}::text)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10

-- name: doubled_keys
-- The first values of a key that are there more than once.
SELECT {key} FROM {table} WHERE {key} IS NOT NULL GROUP BY {key} HAVING count(*) > 1 ORDER BY {key}::text LIMIT 3

-- name: count_inputs
-- Accounts and price overrides as they are, and as the last finished run counted them.
SELECT {accounts}, {overrides}, r.accounts, r.overrides
FROM (SELECT) AS one LEFT JOIN (
  SELECT accounts, overrides FROM {runs}
  WHERE kind IN ('run', 'backfill') AND status = 'done' ORDER BY run_id DESC LIMIT 1
) AS r ON true

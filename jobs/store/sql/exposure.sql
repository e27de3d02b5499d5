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

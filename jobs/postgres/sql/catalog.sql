-- name: server
-- The server, the database and this role: version, read-only state, and the basic privileges.
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
    WHERE c.relnamespace = to_regnamespace(quote_ident(%(source)s))
      AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'id'
  ) AS usage_by_id,
  ARRAY(SELECT relname::text FROM pg_class
        WHERE relnamespace = to_regnamespace(quote_ident(%(source)s)) AND relkind IN ('v', 'm', 'f')) AS views,
  ARRAY(  -- append-only tables: a trigger refuses UPDATE, DELETE and TRUNCATE (tgtype 58)
    SELECT c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE c.relnamespace = to_regnamespace(quote_ident(%(own)s)) AND t.tgname = 'append_only'
      AND t.tgenabled <> 'D' AND t.tgtype = 58 AND p.prosrc LIKE '%%RAISE EXCEPTION%%'
  ) AS append_only

-- name: is_known
-- A condition: a table, `c` in schema `n`, is one of the application's or of the job's own.
(n.nspname = %(source)s AND c.relname = ANY(%(source_tables)s)
  OR n.nspname = %(own)s AND c.relname = ANY(%(own_tables)s))

-- name: columns
-- Columns of these tables: type, scale (null: a numeric without a limit, or not numeric), and privileges of this
-- role.
SELECT
  c.relname AS table_name,
  a.attname AS name,
  CASE WHEN t.typtype = 'e' THEN %(enum)s ELSE replace(format_type(a.atttypid, NULL), '"', '') END AS type,
  CASE WHEN a.atttypid = 'numeric'::regtype AND a.atttypmod >= 0
       THEN (((a.atttypmod - 4) & 2047) # 1024) - 1024 END AS scale,
  array_remove(ARRAY[
    CASE WHEN has_column_privilege(c.oid, a.attnum, 'SELECT') THEN 'SELECT' END,
    CASE WHEN has_column_privilege(c.oid, a.attnum, 'UPDATE') THEN 'UPDATE' END,
    CASE WHEN has_column_privilege(c.oid, a.attnum, 'INSERT') THEN 'INSERT' END,
    CASE WHEN has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END
  ], NULL) AS rights,
  a.attgenerated <> '' AS is_generated,
  a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS is_required,
  format('%%I.%%I', n.nspname, c.relname) AS place,
  quote_ident(a.attname) AS quoted,
  CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default_sql,
  c.relkind IN ('v', 'm') AS is_of_view,
  CASE WHEN t.typtype = 'e' THEN format_type(t.oid, NULL) END AS enum,
  ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid = t.oid) AS labels
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
  AND a.attnum > 0
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE {is_known} AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname, a.attnum

-- name: readable_columns
-- The columns of a table that this role may read.
SELECT a.attname::text
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = to_regnamespace(quote_ident(%(schema)s)) AND c.relname = %(table)s
  AND has_schema_privilege(c.relnamespace, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT')

-- name: keys
-- Unique indexes of these tables.
SELECT c.relname AS table_name, i.indnullsnotdistinct AS nulls_equal,
  ARRAY(SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum = ANY(i.indkey::int2[])) AS columns
FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {is_known} AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL

-- name: row_security
-- Row-level security of these tables: whether it is on and in force for this role, which actions some permissive
-- policy allows it, and for which of these the policies exclude no row.
WITH policies AS (
  SELECT p.polrelid, a.action, p.polpermissive AS permissive,
    coalesce(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) = 'true' AS everything
  FROM pg_policy p
  JOIN (VALUES ('r', 'SELECT'), ('w', 'UPDATE'), ('a', 'INSERT'), ('d', 'DELETE')) AS a(cmd, action)
    ON p.polcmd::text IN ('*', a.cmd)
  WHERE 0 = ANY(p.polroles)
     OR EXISTS (SELECT FROM unnest(p.polroles) AS r(oid) WHERE r.oid <> 0 AND pg_has_role(current_user, r.oid, 'USAGE'))
), by_action AS (
  SELECT polrelid, action, bool_or(permissive) AS allowed,
    bool_and(permissive) AND bool_or(everything) AS unrestricted
  FROM policies GROUP BY polrelid, action
)
SELECT
  c.relname AS table_name,
  c.relrowsecurity AS is_on,
  row_security_active(c.oid) AS in_force,
  ARRAY(SELECT action FROM by_action AS b WHERE b.polrelid = c.oid AND b.allowed) AS allowed,
  ARRAY(SELECT action FROM by_action AS b WHERE b.polrelid = c.oid AND b.unrestricted) AS unrestricted
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {is_known} AND c.relkind IN ('r', 'p')

-- name: default_sequences
-- Sequences that an INSERT into some tables counts on, with whose default each is, and whether this role may use it.
SELECT DISTINCT 'SEQUENCE' AS kind, format('%%I.%%I', n.nspname, s.relname) AS place, n.nspname AS schema,
  s.relname AS name, ARRAY['USAGE'] AS rights,
  CASE WHEN has_sequence_privilege(s.oid, 'USAGE') THEN ARRAY['USAGE'] ELSE '{{}}' END AS granted,
  format('the default of %%s.%%s', t.relname, a.attname) AS cause, false AS is_on
FROM jsonb_to_recordset(%(writes)s) AS w(schema text, name text, rights jsonb)
JOIN pg_class AS t ON t.relnamespace = to_regnamespace(quote_ident(w.schema)) AND t.relname = w.name
JOIN pg_attrdef AS d ON d.adrelid = t.oid
JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
JOIN pg_depend AS p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass
JOIN pg_class AS s ON s.oid = p.refobjid AND s.relkind = 'S'
JOIN pg_namespace AS n ON n.oid = s.relnamespace
WHERE w.rights ? 'INSERT'
ORDER BY place

-- name: trigger_bodies
-- The functions of triggers that some writes fire and that run with the privileges of the writing role: their text
-- without comments, and the schemas of their search_path. A trigger on UPDATE may be limited to other columns.
SELECT format('trigger %%s on %%s', t.tgname, c.relname) AS cause,
  regexp_replace(regexp_replace(p.prosrc, '--.*$', ' ', 'gn'), '/[*].*?[*]/', ' ', 'g') AS body,
  coalesce((SELECT ARRAY(SELECT btrim(part, ' "') FROM unnest(string_to_array(substr(s, 13), ',')) AS part)
            FROM unnest(p.proconfig) AS s WHERE s LIKE 'search_path=%%'), ARRAY[%(source)s]) AS path
FROM jsonb_to_recordset(%(writes)s) AS w(schema text, name text, rights jsonb)
JOIN pg_class AS c ON c.relnamespace = to_regnamespace(quote_ident(w.schema)) AND c.relname = w.name
JOIN pg_trigger AS t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
JOIN pg_proc AS p ON p.oid = t.tgfoid AND NOT p.prosecdef
WHERE t.tgtype & 4 <> 0 AND w.rights ? 'INSERT' OR t.tgtype & 8 <> 0 AND w.rights ? 'DELETE'
  OR t.tgtype & 16 <> 0 AND w.rights ? 'UPDATE' AND (t.tgattr::text = '' OR w.rights -> 'UPDATE' = '[]'
    OR EXISTS (SELECT FROM pg_attribute AS a
               WHERE a.attrelid = c.oid AND a.attnum = ANY(t.tgattr) AND w.rights -> 'UPDATE' ? a.attname::text))

-- name: trigger_tables
-- The tables that these functions use, with the privileges that this needs: an INSERT with ON CONFLICT or RETURNING
-- needs more than INSERT. Of a name without a schema, the first table on the path. (A backslash in a pattern would be
-- lost where standard_conforming_strings is off.)
WITH uses AS (
  SELECT b.cause, b.path, parse_ident(found[1]) AS name, u.rights || CASE
    WHEN u.rights <> '{{INSERT}}' THEN '{{}}'
    WHEN text ~* '[[:<:]]on[[:space:]]+conflict[[:>:]].*[[:<:]]do[[:space:]]+update[[:>:]]' THEN '{{SELECT,UPDATE}}'
    WHEN text ~* '[[:<:]](on[[:space:]]+conflict|returning)[[:>:]]' THEN '{{SELECT}}' ELSE '{{}}' END::text[] AS rights
  FROM ({trigger_bodies}) AS b
  CROSS JOIN regexp_split_to_table(b.body, ';') AS text
  CROSS JOIN (VALUES
    ('[[:<:]]insert[[:space:]]+into[[:space:]]+', '{{INSERT}}'::text[]),
    ('[[:<:]]update[[:space:]]+(?:only[[:space:]]+)?', '{{SELECT,UPDATE}}'),
    ('[[:<:]]delete[[:space:]]+from[[:space:]]+(?:only[[:space:]]+)?', '{{SELECT,DELETE}}'),
    ('[[:<:]](?:from|join)[[:space:]]+(?:only[[:space:]]+)?', '{{SELECT}}')
  ) AS u(words, rights)
  CROSS JOIN regexp_matches(text, u.words || replace('(NAME(?:[.]NAME)?)', 'NAME', '(?:"[^"]+"|[a-z_][[:alnum:]_$]*)'),
                            'gi') AS found
)
SELECT r.kind, n.nspname AS schema, c.relname AS name,
  CASE r.kind WHEN 'TABLE' THEN format('%%I.%%I', n.nspname, c.relname) ELSE quote_ident(n.nspname) END AS place,
  CASE r.kind WHEN 'TABLE' THEN u.rights ELSE '{{USAGE}}' END AS rights,
  CASE r.kind WHEN 'TABLE' THEN array_remove(ARRAY[
    CASE WHEN has_any_column_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
    CASE WHEN has_any_column_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
    CASE WHEN has_any_column_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END,
    CASE WHEN has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END
  ], NULL) ELSE '{{}}' END AS granted,
  u.cause, c.relrowsecurity AS is_on
FROM uses AS u
CROSS JOIN LATERAL (
  SELECT c.*
  FROM unnest(CASE cardinality(u.name) WHEN 1 THEN u.path ELSE u.name[:1] END) WITH ORDINALITY AS s(schema, number)
  JOIN pg_class AS c ON c.relnamespace = to_regnamespace(quote_ident(s.schema))
    AND c.relname = u.name[cardinality(u.name)] AND c.relkind IN ('r', 'p', 'v', 'f')
  WHERE s.schema NOT IN ('pg_catalog', 'information_schema') ORDER BY s.number LIMIT 1
) AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN (VALUES ('TABLE'), ('SCHEMA')) AS r(kind) ON r.kind = 'TABLE' OR NOT has_schema_privilege(n.oid, 'USAGE')
ORDER BY u.cause, r.kind DESC

-- Columns of the given tables: type, scale (null: a numeric without limit, or no numeric), and what this role may do.
SELECT
  c.relname AS table_name,
  a.attname AS name,
  CASE WHEN t.typtype = 'e' THEN %(enum)s ELSE replace(format_type(a.atttypid, NULL), '"', '') END AS type,
  CASE WHEN a.atttypid = 'numeric'::regtype AND a.atttypmod >= 0 THEN (((a.atttypmod - 4) & 2047) # 1024) - 1024 END AS scale,
  array_remove(ARRAY[
    CASE WHEN has_column_privilege(c.oid, a.attnum, 'SELECT') THEN 'SELECT' END,
    CASE WHEN has_column_privilege(c.oid, a.attnum, 'UPDATE') THEN 'UPDATE' END,
    CASE WHEN has_column_privilege(c.oid, a.attnum, 'INSERT') THEN 'INSERT' END,
    CASE WHEN has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END
  ], NULL) AS rights,
  a.attgenerated <> '' AS generated,
  a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS demanded,
  format('%%I.%%I', n.nspname, c.relname) AS place,
  quote_ident(a.attname) AS quoted,
  CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS filled_by,
  c.relkind IN ('v', 'm') AS of_view,
  CASE WHEN t.typtype = 'e' THEN format_type(t.oid, NULL) END AS enum,
  ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid = t.oid) AS labels
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
  AND a.attnum > 0
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname, a.attnum

-- Columns of the given tables: type, scale (null: a numeric without limit, or no numeric), and what this role may do.
SELECT
  c.relname AS table_name,
  a.attname AS name,
  replace(format_type(a.atttypid, NULL), '"', '') AS type,
  CASE WHEN a.atttypid = 'numeric'::regtype AND a.atttypmod >= 0 THEN (a.atttypmod - 4) & 1023 END AS scale,
  has_column_privilege(c.oid, a.attnum, 'SELECT') AS may_read,
  has_column_privilege(c.oid, a.attnum, 'UPDATE') AS may_update,
  has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'DELETE') AS may_replace
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname, a.attnum

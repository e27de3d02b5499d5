-- Columns of the given tables: type, scale (null: a numeric without limit, or no numeric), and what this role may do.
SELECT
  c.relname AS table_name,
  a.attname AS name,
  replace(format_type(a.atttypid, NULL), '"', '') AS type,
  CASE WHEN a.atttypid = 'numeric'::regtype AND a.atttypmod >= 0 THEN (((a.atttypmod - 4) & 2047) # 1024) - 1024 END AS scale,
  has_column_privilege(c.oid, a.attnum, 'SELECT') AS may_read,
  has_column_privilege(c.oid, a.attnum, 'UPDATE') AS may_update,
  has_column_privilege(c.oid, a.attnum, 'INSERT') AS may_insert,
  has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'DELETE') AS may_replace
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
  AND (a.attnum > 0 OR (a.attname = 'xmin' AND c.relname = 'usage_daily'))  -- by which a changed row is told
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(tables)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY c.relname, a.attnum

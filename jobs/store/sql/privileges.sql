-- Every privilege that this role has on tables of these schemas: of a whole table for what has no columns, else by column.
SELECT n.nspname AS schema, c.relname AS table, x.column, quote_ident(x.column) AS quoted, x.attnum, x.action AS right,
  format('TABLE %%I.%%I', n.nspname, c.relname) AS place
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
  SELECT NULL::text AS column, t.action, 0 AS attnum
  FROM (VALUES ('DELETE'), ('TRUNCATE'), ('TRIGGER')) AS t(action) WHERE has_table_privilege(c.oid, t.action)
  UNION ALL
  SELECT a.attname::text, t.action, a.attnum
  FROM pg_attribute a CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('REFERENCES')) AS t(action)
  WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attnum > 0 AND has_column_privilege(c.oid, a.attnum, t.action)
) AS x
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT n.nspname, c.relname, NULL, NULL, 0, t.action, format('SEQUENCE %%I.%%I', n.nspname, c.relname)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN (VALUES ('USAGE'), ('SELECT'), ('UPDATE')) AS t(action)
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind = 'S' AND has_sequence_privilege(c.oid, t.action)
ORDER BY 1, 2, 5, 6

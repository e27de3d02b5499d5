-- The first of some names that is a table; what this role may do with any column of it, and whether its rows are walled in.
SELECT format('%%I.%%I', n.nspname, c.relname) AS place, n.nspname AS schema, c.relname AS name,
  c.relrowsecurity AS is_on, quote_ident(n.nspname) AS quoted_schema,
  has_schema_privilege(n.oid, 'USAGE') AS may_use_schema,
  array_remove(ARRAY[
    CASE WHEN has_any_column_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
    CASE WHEN has_any_column_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
    CASE WHEN has_any_column_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END,
    CASE WHEN has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END
  ], NULL) AS held
FROM unnest(%(schemas)s::text[], %(names)s::text[]) WITH ORDINALITY AS r(schema, name, number)
JOIN pg_namespace AS n ON n.nspname = r.schema AND n.nspname NOT IN ('pg_catalog', 'information_schema')
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = r.name AND c.relkind IN ('r', 'p', 'v', 'f')
ORDER BY r.number LIMIT 1

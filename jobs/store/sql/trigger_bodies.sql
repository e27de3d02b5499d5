-- Triggers of some tables that act with the rights of whoever writes: on which actions, and (UPDATE) for which columns;
-- the text of their functions, and the schemas in which that looks for tables, where it says so.
SELECT format('%%I.%%I', n.nspname, c.relname) AS place, format('trigger %%s on %%s', t.tgname, c.relname) AS cause,
  array_remove(ARRAY[
    CASE WHEN t.tgtype & 4 <> 0 THEN 'INSERT' END,
    CASE WHEN t.tgtype & 8 <> 0 THEN 'DELETE' END,
    CASE WHEN t.tgtype & 16 <> 0 THEN 'UPDATE' END
  ], NULL) AS actions,
  ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum = ANY(t.tgattr)) AS columns,
  p.prosrc AS body,
  (SELECT substr(s, 13) FROM unnest(p.proconfig) AS s WHERE s LIKE 'search_path=%%') AS path
FROM pg_trigger AS t
JOIN pg_proc AS p ON p.oid = t.tgfoid AND NOT p.prosecdef
JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND format('%%I.%%I', n.nspname, c.relname) = ANY(%(tables)s)
ORDER BY 1, 2

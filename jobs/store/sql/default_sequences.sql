-- Sequences that an INSERT into some tables counts on, with whose default each is, and whether this role may use it.
SELECT DISTINCT format('%%I.%%I', n.nspname, s.relname) AS place, n.nspname AS schema, s.relname AS name,
  format('the default of %%s.%%s', t.relname, a.attname) AS cause, has_sequence_privilege(s.oid, 'USAGE') AS may_use
FROM pg_attrdef AS d
JOIN pg_class AS t ON t.oid = d.adrelid
JOIN pg_namespace AS o ON o.oid = t.relnamespace
JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
JOIN pg_depend AS p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass
JOIN pg_class AS s ON s.oid = p.refobjid AND s.relkind = 'S'
JOIN pg_namespace AS n ON n.oid = s.relnamespace
WHERE format('%%I.%%I', o.nspname, t.relname) = ANY(%(tables)s)
ORDER BY 1

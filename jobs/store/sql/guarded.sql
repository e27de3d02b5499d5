-- Tables that refuse UPDATE, DELETE and TRUNCATE by themselves: before each (tgtype 58), by raising.
SELECT c.relname AS table_name
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE n.nspname = %(schema)s AND t.tgname = 'append_only' AND t.tgenabled <> 'D' AND t.tgtype = 58
  AND p.prosrc LIKE '%%RAISE EXCEPTION%%'

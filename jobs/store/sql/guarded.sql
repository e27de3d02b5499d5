-- Tables that refuse UPDATE, DELETE and TRUNCATE by themselves.
SELECT c.relname AS table_name
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND t.tgname = 'append_only' AND t.tgenabled <> 'D'

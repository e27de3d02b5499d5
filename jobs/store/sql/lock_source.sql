-- The table that holds the usage, or those that a view reads it from, and whether each could be locked until we commit. By
-- the catalog, which everybody may read: what privileges are missing is told later.
WITH RECURSIVE behind AS (
  SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = %(schema)s AND c.relname = 'usage_daily'
  UNION
  SELECT d.refobjid
  FROM behind AS b
  JOIN pg_class AS v ON v.oid = b.oid AND v.relkind IN ('v', 'm')
  JOIN pg_rewrite AS r ON r.ev_class = v.oid
  JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
)
SELECT c.oid::regclass::text, pg_try_advisory_xact_lock(hashtext('usage-jobs source'), hashtext(c.oid::text))
FROM (SELECT oid FROM behind ORDER BY oid) AS b JOIN pg_class AS c USING (oid) WHERE c.relkind NOT IN ('v', 'm')

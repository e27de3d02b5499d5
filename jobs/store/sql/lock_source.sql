-- The table that holds the usage, or those that a view reads it from, and whether each could be locked until we commit.
WITH RECURSIVE behind AS (
  SELECT to_regclass({quoted})::oid AS oid
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

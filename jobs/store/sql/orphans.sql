-- Users and clusters that recent usage refers to and that do not exist: counted and priced all the same.
SELECT {column}::text AS missing, count(*) AS rows
FROM {usage} AS u
WHERE u.date >= %(since)s AND isfinite(u.date) AND {column} IS NOT NULL
  AND NOT EXISTS (SELECT FROM {target} AS t WHERE t.id::text = u.{column}::text)
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10

-- Users of whom more was deducted than their account says was used.
SELECT count(*) AS users, coalesce(sum(excess), 0) AS excess
FROM (
  SELECT sum(d.free + d.purchased) - coalesce(max({used}), 0) AS excess
  FROM {draws} AS d LEFT JOIN {accounts} AS a ON a.user_id = d.user_id
  WHERE d.revision = 0 GROUP BY d.user_id
) AS e WHERE excess > 0

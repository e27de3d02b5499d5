-- Users of whom more was deducted than their account says was used.
SELECT count(*) AS users, coalesce(sum(excess), 0) AS excess
FROM (
  SELECT d.amount - coalesce({used}, 0) AS excess
  FROM (SELECT user_id, sum(free + purchased) AS amount FROM {draws} WHERE revision = 0 GROUP BY user_id) AS d
  LEFT JOIN {accounts} AS a ON a.user_id = d.user_id
) AS e WHERE excess > 0

-- A balance is what it was before our first transaction, and every transaction since, whoever wrote it. A purchase that
-- another program posted at the same moment may be dated before our first one although it came after, or after it
-- although it came before: an hour to either side is forgiven once, where it makes the sum right.
SELECT s.user_id AS key,
  CASE WHEN {balance} IN (s.balance + s.earlier, s.balance - s.later) THEN {balance} ELSE s.balance END AS left_,
  {balance} AS right_
FROM (
  SELECT f.user_id,
    (f.balance_before + coalesce(sum(t.amount) FILTER (WHERE t.created_at >= f.created_at), 0))::numeric AS balance,
    coalesce(sum(t.amount) FILTER (WHERE t.created_at < f.created_at), 0) AS earlier,
    coalesce(sum(t.amount) FILTER (WHERE t.created_at >= f.created_at AND NOT coalesce({ours}, false)
      AND t.created_at < f.created_at + interval '1 hour'), 0) AS later
  FROM (
    SELECT DISTINCT ON (user_id) user_id, created_at, balance_before FROM {transactions} WHERE {ours}
    ORDER BY user_id, created_at, amount DESC
  ) AS f
  JOIN {transactions} AS t ON t.user_id = f.user_id AND t.created_at >= f.created_at - interval '1 hour'
  GROUP BY f.user_id, f.created_at, f.balance_before
) AS s JOIN {accounts} AS a ON a.user_id = s.user_id

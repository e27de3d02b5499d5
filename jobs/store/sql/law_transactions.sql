-- Law 4: what a run booked of a user in the ledger is what its transactions say.
SELECT coalesce(d.user_id, t.user_id) || ' run ' || coalesce(d.run_id, t.run_id) AS key,
  coalesce(d.amount, 0) AS left_, coalesce(t.amount, 0) AS right_
FROM (
  SELECT user_id, run_id, sum(free + purchased) AS amount FROM {draws}
  WHERE revision > 0 AND {drawn_has} GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT user_id, (metadata ->> 'run_id')::bigint AS run_id, -sum(amount)::numeric AS amount
  FROM {transactions} WHERE {ours} AND {posted_has} GROUP BY 1, 2
) AS t ON t.user_id = d.user_id AND t.run_id = d.run_id

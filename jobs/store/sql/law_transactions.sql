-- Law 4: what a run booked of a user in the ledger is what its transactions say. Of a user with draws that were adopted
-- after the first adoption only the whole is compared: entries of his were lost, or never had a transaction of ours.
SELECT coalesce(d.user_id, t.user_id) || ' run ' || coalesce(d.run_id, t.run_id) AS key,
  coalesce(d.amount, 0) AS left_, coalesce(t.amount, 0) AS right_
FROM (
  SELECT user_id, run_id::text AS run_id, sum(free + purchased) AS amount FROM {draws}
  WHERE NOT imported AND {drawn} GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT user_id, metadata ->> 'run_id' AS run_id, -sum(amount)::numeric AS amount
  FROM {transactions} WHERE {ours} AND {posted} GROUP BY 1, 2
) AS t ON t.user_id = d.user_id AND t.run_id = d.run_id
WHERE coalesce(d.user_id, t.user_id) NOT IN (SELECT user_id FROM {draws} WHERE imported AND revision > 0)
UNION ALL
SELECT user_id, coalesce(drawn, 0), coalesce(posted, 0) FROM ({compared}) AS c
WHERE user_id IN (SELECT user_id FROM {draws} WHERE imported AND revision > 0)

-- By user what we have drawn as the ledger and as our transactions say. Imported entries have no transaction of ours, unless
-- they stand for entries that were lost: then all that was adopted since the first adoption has them.
SELECT user_id, CASE WHEN t.amount = d.amount + d.adopted THEN t.amount ELSE d.amount END AS drawn, t.amount AS posted
FROM (
  SELECT user_id, coalesce(sum(free + purchased) FILTER (WHERE NOT imported), 0) AS amount,
    coalesce(sum(free + purchased) FILTER (WHERE imported AND revision > 0), 0) AS adopted
  FROM {draws} WHERE {drawn} GROUP BY 1
) AS d
FULL JOIN (
  SELECT user_id, -sum(amount)::numeric AS amount FROM {transactions} WHERE {ours} AND {posted} GROUP BY 1
) AS t USING (user_id)

-- Schemas whose runs have drawn here, and whose ledger is still there.
SELECT t.schema, t.draws
FROM (
  SELECT metadata ->> 'schema' AS schema, count(*) AS draws
  FROM {transactions} WHERE type = 'usage' AND metadata ->> 'schema' <> {schema} GROUP BY 1
) AS t
WHERE EXISTS (
  SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = t.schema AND c.relname = 'credit_draws')
ORDER BY t.draws DESC, t.schema LIMIT 1

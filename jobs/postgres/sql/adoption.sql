-- name: is_due
-- Whether no run has written to the ledger yet. All draws until now are then draws of another program.
SELECT NOT EXISTS (SELECT FROM {job.credit_draws})
   AND NOT EXISTS (SELECT FROM {job.runs} WHERE kind = 'adopt' OR credits IS NOT NULL)

-- name: insert_run
-- Adds the import to the run log, as a finished run. Returns no row where the run id is taken.
INSERT INTO {job.runs} (kind, window_from, window_to, status, finished_at, rows_read, rows_changed, credits, version)
VALUES ('adopt', %(first)s, %(last)s, 'done', clock_timestamp(), %(rows)s, %(rows)s, %(total)s, %(version)s)
ON CONFLICT DO NOTHING
RETURNING run_id

-- name: adoptable
-- On how many rows another program has drawn, their first and last day, and the amount.
SELECT count(*) AS rows, min(date) AS first, max(date) AS last, sum(credits_deducted) AS total FROM ({deducted}) AS u

-- name: adoptable_draws
-- The draws of another program as ledger entries: in row order the first lot first, up to its used credits.
(
  SELECT id AS usage_daily_id, user_id, 0 AS revision, date AS usage_date, of_first AS {first},
    credits_deducted - of_first AS {second}, true AS imported
  FROM (
    SELECT u.*, least(running, used) - least(running - credits_deducted, used) AS of_first
    FROM (
      SELECT u.*, coalesce({first_used}, 0) AS used,
        sum(credits_deducted) OVER (PARTITION BY u.user_id
          ORDER BY date, hopsworks_cluster_id NULLS LAST, u.id ROWS UNBOUNDED PRECEDING) AS running
      FROM ({deducted}) AS u LEFT JOIN {app.user_credits} AS a ON a.user_id = u.user_id
    ) AS u
  ) AS u
) AS d

-- name: adopt_draws
-- Adds the draws of another program to the ledger, as entries of revision 0.
INSERT INTO {job.credit_draws} (usage_daily_id, user_id, revision, usage_date, free, purchased, imported, run_id)
SELECT usage_daily_id, user_id, revision, usage_date, free, purchased, imported, %(run_id)s FROM {adoptable}
ORDER BY user_id, usage_date, usage_daily_id

-- name: adopted_excess
-- How many users had more deducted than their account shows as used, and by how much.
SELECT count(*) AS users, coalesce(sum(excess), 0) AS excess
FROM (
  SELECT d.amount - coalesce({used}, 0) AS excess
  FROM (SELECT user_id, sum(free + purchased) AS amount FROM {draws} WHERE revision = 0 GROUP BY user_id) AS d
  LEFT JOIN {app.user_credits} AS a ON a.user_id = d.user_id
) AS e WHERE excess > 0

-- name: other_deployments
-- Other schemas whose runs have drawn on these accounts and whose ledger still exists: the one with the most draws.
SELECT t.schema, t.draws
FROM (
  SELECT metadata ->> 'schema' AS schema, count(*) AS draws
  FROM {app.credit_transactions} WHERE type = 'usage' AND metadata ->> 'schema' <> {schema} GROUP BY 1
) AS t
WHERE EXISTS (
  SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = t.schema AND c.relname = 'credit_draws')
ORDER BY t.draws DESC, t.schema LIMIT 1

-- A plan that an earlier run began to carry out.
SELECT plan FROM {runs} WHERE kind = 'backfill' AND plan->>'hash' = %s ORDER BY run_id DESC LIMIT 1

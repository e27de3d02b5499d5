-- What the ledger lacks: by row, user and month.
DROP TABLE IF EXISTS pg_temp.usage_jobs_draws;
CREATE TEMP TABLE usage_jobs_draws
  (user_id text, id uuid, month date, date date, free numeric, purchased numeric, fresh boolean, first boolean) ON COMMIT DROP

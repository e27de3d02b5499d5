-- What the ledger lacks: by row, user and month.
CREATE TEMP TABLE usage_jobs_draws
  (user_id text, id uuid, month date, date date, free numeric, purchased numeric, fresh boolean, first boolean) ON COMMIT DROP

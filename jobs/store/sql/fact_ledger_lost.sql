-- Whether the ledger is empty although runs have drawn: made anew, everybody would be drawn again.
SELECT NOT EXISTS (SELECT FROM {credit_draws})
  AND EXISTS (SELECT FROM {runs} WHERE kind IN ('run', 'backfill') AND status = 'done' AND credits > 0)

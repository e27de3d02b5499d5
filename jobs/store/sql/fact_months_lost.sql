-- Whether no month is left although runs have finished, or a month has lost when it closed: closed months would open.
SELECT EXISTS (SELECT FROM {months} WHERE closed_at IS NULL AND closed_by IS NOT NULL)
  OR NOT EXISTS (SELECT FROM {months})
     AND EXISTS (SELECT FROM {runs} WHERE kind IN ('run', 'backfill') AND status = 'done')

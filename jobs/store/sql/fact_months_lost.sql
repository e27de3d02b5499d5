-- Whether no month is left although some were rolled up, or one has lost when it closed: closed months would open.
SELECT EXISTS (SELECT FROM {months} WHERE closed_at IS NULL AND closed_by IS NOT NULL)
  OR NOT EXISTS (SELECT FROM {months}) AND EXISTS (SELECT FROM {user_monthly})

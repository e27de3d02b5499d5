-- Whether somebody was charged an override in a month that is still open.
SELECT EXISTS (
  SELECT FROM {user_monthly}
  WHERE overrides_hash IS NOT NULL AND month IN (SELECT month FROM {months} WHERE closed_at IS NULL))

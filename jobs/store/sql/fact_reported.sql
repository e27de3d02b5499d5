-- Whether rows that were reported elsewhere count in a month that is still open.
SELECT EXISTS (
  SELECT FROM {user_monthly}
  WHERE amount_reported <> 0 AND month IN (SELECT month FROM {months} WHERE closed_at IS NULL))

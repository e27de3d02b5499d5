-- What is open of a user's debts is owed no longer.
UPDATE {debts} AS d
SET written_off = d.amount - d.settled, reason = %(reason)s, run_id = %(run_id)s
FROM {months} AS m
WHERE d.user_id = %(user)s AND d.amount > d.settled + d.written_off
  AND m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL

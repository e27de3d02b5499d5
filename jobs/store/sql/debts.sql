-- Debts of closed months: those of a month that was opened again are none until it closes.
SELECT d.usage_daily_id, d.user_id, d.usage_date, d.amount, d.settled, d.written_off, d.reason
FROM {debts} AS d JOIN {months} AS m ON m.month = date_trunc('month', d.usage_date)::date AND m.closed_at IS NOT NULL
WHERE %(user)s::text IS NULL OR d.user_id = %(user)s
ORDER BY d.user_id, d.usage_date, d.usage_daily_id

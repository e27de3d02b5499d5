-- What a month's figures are, as one text; nothing before a run has booked some.
SELECT concat_ws(' ', row_count, usage_hash, rates_hash, total_cost, CASE WHEN closed_at IS NOT NULL THEN 'closed' END)
FROM {months} WHERE month = %s

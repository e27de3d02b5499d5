-- What a person sees of months, each as one text; of a month that no run has finished nothing.
SELECT month, coalesce(concat_ws(' ', row_count, rates_hash, total_cost, CASE WHEN closed_at IS NOT NULL THEN 'closed' END), '')
FROM {months} WHERE month = ANY(%s)

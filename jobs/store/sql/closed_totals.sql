-- What each month costs as booked, and by which prices.
SELECT month, total_cost, rates_hash FROM {months}

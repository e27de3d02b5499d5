-- Users whose accounts hold amounts that are no numbers, or too large.
SELECT user_id FROM {accounts} AS a WHERE NOT {usable} ORDER BY 1 LIMIT 10

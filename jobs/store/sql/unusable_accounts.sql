-- Users whose accounts hold amounts that are no numbers.
SELECT user_id FROM {accounts} AS a WHERE {balance} IN ('NaN', 'Infinity', '-Infinity') ORDER BY 1 LIMIT 10

-- The first values of a key that are there more than once.
SELECT {key} FROM {table} WHERE {key} IS NOT NULL GROUP BY {key} HAVING count(*) > 1 ORDER BY {key}::text LIMIT 3

-- The rows that cannot be taken, whole, as far as the job reads them.
SELECT id::text, {row}::text FROM {usage} AS u WHERE id = ANY(%(ids)s::uuid[])

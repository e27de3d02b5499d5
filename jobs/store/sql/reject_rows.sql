-- The rows that cannot be taken, whole, as far as the job reads them.
SELECT id::text, jsonb_build_object({fields})::text FROM {usage} WHERE id = ANY(%(ids)s::uuid[])

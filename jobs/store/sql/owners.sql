-- Whose some rows are now: they may have moved since they were read.
SELECT DISTINCT user_id FROM {usage} WHERE id = ANY(%(ids)s::uuid[]) AND user_id IS NOT NULL

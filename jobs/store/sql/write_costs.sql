-- A row that changed since it was read keeps its value here: its user is read anew and computed alone.
UPDATE {usage} AS u SET total_cost = s.target
FROM usage_jobs_costs AS s
WHERE u.id = s.id AND u.xmin::text::bigint = s.version
RETURNING u.id::text

-- A row that changed since it was read keeps its values here: its user is read anew and computed alone.
UPDATE {usage} AS u SET {assignments}
FROM usage_jobs_rows AS s
WHERE u.id = s.id AND u.xmin::text::bigint = s.version
RETURNING u.id::text

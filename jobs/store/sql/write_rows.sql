-- A row that changed since it was read keeps its values here: its user is read anew and computed alone. What was written
-- comes back as bytes: a row for each of a million ids would cost more than to write them.
WITH written AS (
  UPDATE {usage} AS u SET {assignments}
  FROM usage_jobs_rows AS s
  WHERE u.id = s.id AND u.xmin IS NOT DISTINCT FROM s.version
  RETURNING u.id
)
SELECT count(*), string_agg(uuid_send(id), ''::bytea) FROM written

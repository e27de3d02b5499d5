-- name: list
-- The users who are set aside, with the reason.
SELECT user_id, reason FROM {job.set_aside} ORDER BY user_id

-- name: upsert
-- Adds users of whom nothing can be written, or updates their reason.
INSERT INTO {job.set_aside} AS s (user_id, reason, run_id)
SELECT user_id, reason, %(run_id)s FROM unnest(%(users)s::text[], %(reasons)s::text[]) AS u(user_id, reason)
ON CONFLICT (user_id) DO UPDATE SET reason = EXCLUDED.reason, run_id = EXCLUDED.run_id

-- name: remove
-- Removes users who were written again, or are out of scope.
DELETE FROM {job.set_aside}
WHERE user_id <> ALL(%(remaining)s::text[]) AND (%(users)s::text[] IS NULL OR user_id = ANY(%(users)s::text[]))

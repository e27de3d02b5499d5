-- name: list
-- Who is set aside, and why.
SELECT user_id, reason FROM {set_aside} ORDER BY user_id

-- name: put
-- Of whom nothing can be written.
INSERT INTO {set_aside} AS s (user_id, reason, run_id)
SELECT user_id, reason, %(run_id)s FROM unnest(%(users)s::text[], %(reasons)s::text[]) AS u(user_id, reason)
ON CONFLICT (user_id) DO UPDATE SET reason = EXCLUDED.reason, run_id = EXCLUDED.run_id

-- name: remove
-- Who has been written again, or is no longer to be.
DELETE FROM {set_aside} WHERE user_id <> ALL(%(kept)s::text[]) AND (%(users)s::text[] IS NULL OR user_id = ANY(%(users)s::text[]))

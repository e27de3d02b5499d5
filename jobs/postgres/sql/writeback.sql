-- name: stage_rows
-- Rows of usage_daily to write: their cost where it is ours, and the credits that they shall show where these differ;
-- and what their written_hash is now.
DROP TABLE IF EXISTS pg_temp.usage_jobs_rows;
CREATE TEMP TABLE usage_jobs_rows
  (id uuid, user_id text, date date, month date, written_hash bigint, target numeric, credits numeric) ON COMMIT DROP

-- name: written_changes
-- By user and month how many of the rows to be written are there, and what writing them changes in written_hash: a
-- column that is not written keeps its value. A run locks them and never waits. Rows that another transaction holds are
-- not counted, nor are those that are gone, or have another day or user by now.
WITH found AS (
  SELECT s.user_id, s.month, s.written_hash # ({new_hash}) AS changed
  FROM {rows} AS s JOIN {usage} AS u ON u.id = s.id AND u.date = s.date AND u.user_id = s.user_id
  {locking}
)
SELECT user_id, month, count(*), bit_xor(changed) FROM found GROUP BY user_id, month

-- name: unstaged_rows
-- Where nothing may be written, not even a temporary table: rows that would be staged.
SELECT id, user_id, date, month, written_hash, target, credits
FROM unnest(%(ids)s::uuid[], %(users)s::text[], %(dates)s::date[], %(months)s::date[], %(hashes)s::bigint[],
  %(targets)s::numeric[], %(credits)s::numeric[]) AS s(id, user_id, date, month, written_hash, target, credits)

-- name: lock_users
-- Locks all rows of some users on the days in question, or fails at once.
SELECT count(*) FROM (
  SELECT FROM {usage} WHERE user_id = ANY({users}) AND {days} FOR NO KEY UPDATE NOWAIT
) AS locked

-- name: write_rows
-- By id, day and user: a row that is no longer there is missing in the count, and the batch rolls back.
UPDATE {usage} AS u SET {assignments}
FROM usage_jobs_rows AS s
WHERE u.id = s.id AND u.date = s.date AND u.user_id = s.user_id

-- name: lost_rows
-- Rows whose draws were reversed for a user who has lost them, and that no batch of a present user will write: they have
-- no user now, or no day in question. Each is to show what its present user has drawn on it.
SELECT r.id, r.user_id, coalesce(r.credits_deducted, 0)::numeric AS deducted,
  coalesce((SELECT sum(d.free + d.purchased) FROM {draws} AS d
            WHERE d.usage_daily_id = r.id AND d.user_id = r.user_id), 0) AS drawn
FROM {usage} AS r WHERE r.id = ANY(%(ids)s::uuid[]) AND (r.user_id IS NULL OR NOT coalesce({days}, false))

-- name: lock_lost_rows
-- These rows, locked, without waiting.
SELECT id FROM {usage} WHERE id = ANY(%(ids)s::uuid[]) FOR NO KEY UPDATE SKIP LOCKED

-- name: write_lost_rows
UPDATE {usage} AS u SET credits_deducted = trim_scale(s.credits)
FROM unnest(%(ids)s::uuid[], %(credits)s::numeric[]) AS s(id, credits) WHERE u.id = s.id

-- name: misplaced_rows
-- Rows that no batch sees, because they have no day, and that show what was drawn on them for another user than theirs.
SELECT r.id, r.user_id, r.credits_deducted::numeric AS deducted,
  (SELECT coalesce(sum(d.free + d.purchased), 0) FROM {draws} AS d
   WHERE d.usage_daily_id = r.id AND d.user_id = r.user_id) AS drawn
FROM {usage} AS r
WHERE r.id = ANY(%(ids)s::uuid[]) AND r.user_id IS NOT NULL AND r.credits_deducted <> 0
  AND r.credits_deducted = ANY(ARRAY(SELECT sum(d.free + d.purchased) FROM {draws} AS d
    WHERE d.usage_daily_id = r.id AND d.user_id <> r.user_id GROUP BY d.user_id))
{locking}

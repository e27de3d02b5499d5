-- name: hash_changes
-- By user and month: how many of the rows to write exist, and the change of written_hash by writing them (a column that
-- is not written stays the same). A run locks the rows without waiting. Not counted: rows that another transaction has
-- locked, that are deleted, or that have another day or user now.
WITH found AS (
  SELECT s.user_id, s.month, s.written_hash # ({new_hash}) AS hash_change
  FROM {rows} AS s JOIN {app.usage_daily} AS u ON u.id = s.id AND u.date = s.date AND u.user_id = s.user_id
  {locking}
)
SELECT user_id, month, count(*), bit_xor(hash_change) FROM found GROUP BY user_id, month

-- name: unstaged_rows
-- The rows that would be staged, for a read-only transaction, in which no temporary table can be made.
SELECT * FROM unnest(%(id)s::uuid[], %(user_id)s::text[], %(date)s::date[], %(month)s::date[],
  %(written_hash)s::bigint[], %(new_total_cost)s::numeric[], %(new_credits_deducted)s::numeric[])
  AS s(id, user_id, date, month, written_hash, new_total_cost, new_credits_deducted)

-- name: lock_users
-- Locks all rows of some users on the days in question, or fails at once.
SELECT count(*) FROM (
  SELECT FROM {app.usage_daily} WHERE user_id = ANY({users}) AND {days} FOR NO KEY UPDATE NOWAIT
) AS locked

-- name: write_rows
-- Writes the staged rows, found by id, day and user. A row that no longer exists is missing in the count, and the batch
-- rolls back.
UPDATE {app.usage_daily} AS u SET {assignments}
FROM usage_jobs_rows AS s
WHERE u.id = s.id AND u.date = s.date AND u.user_id = s.user_id

-- name: unread_rows
-- Rows whose draws are reversed for a former user (`drawn`: signed amounts), and that no batch of a present user
-- writes: they have no user now, or no day in question. credits_deducted is to become the sum of the present user's
-- draws. One row each: id, user, the amount before and after, and the former users.
SELECT id, user_id, old, new, former_users FROM (
  SELECT r.id, r.user_id, coalesce(r.credits_deducted, 0)::numeric AS old,
    coalesce(sum(p.drawn) FILTER (WHERE p.user_id = r.user_id), 0) + coalesce((
      SELECT sum(d.free + d.purchased) FROM {job.credit_draws} AS d
      WHERE d.usage_daily_id = r.id AND d.user_id = r.user_id), 0) AS new,
    array_agg(p.user_id) AS former_users
  FROM unnest(%(id)s::uuid[], %(user_id)s::text[], %(drawn)s::numeric[]) AS p(id, user_id, drawn)
  JOIN {app.usage_daily} AS r ON r.id = p.id
  WHERE r.user_id IS NULL OR NOT coalesce({days}, false)
  GROUP BY r.id, r.user_id, r.credits_deducted
) AS r WHERE old <> new

-- name: lock_unread_rows
-- Locks these rows without waiting; returns the locked ones.
SELECT id FROM {app.usage_daily} WHERE id = ANY(%(ids)s::uuid[]) FOR NO KEY UPDATE SKIP LOCKED

-- name: write_unread_rows
-- Writes credits_deducted of these rows.
UPDATE {app.usage_daily} AS u SET credits_deducted = trim_scale(s.credits)
FROM unnest(%(ids)s::uuid[], %(credits)s::numeric[]) AS s(id, credits) WHERE u.id = s.id

-- name: undated_rows
-- Rows that no batch reads, because they have no day, and whose credits_deducted is the sum of another user's draws.
SELECT r.id, r.user_id, r.credits_deducted::numeric AS deducted,
  (SELECT coalesce(sum(d.free + d.purchased), 0) FROM {job.credit_draws} AS d
   WHERE d.usage_daily_id = r.id AND d.user_id = r.user_id) AS drawn
FROM {app.usage_daily} AS r
WHERE r.id = ANY(%(ids)s::uuid[]) AND r.user_id IS NOT NULL AND r.credits_deducted <> 0
  AND r.credits_deducted = ANY(ARRAY(SELECT sum(d.free + d.purchased) FROM {job.credit_draws} AS d
    WHERE d.usage_daily_id = r.id AND d.user_id <> r.user_id GROUP BY d.user_id))
{locking}

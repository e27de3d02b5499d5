-- name: changes
-- Stored rejects that differ from those of now: the user, and the reason and the row as stored. Numbers are compared by
-- value: 12.50 equals 12.5.
SELECT coalesce(n.id, s.id)::text, CASE WHEN n.id IS NULL THEN s.user_id ELSE n.row->>'user_id' END,
  CASE WHEN s.id IS NOT NULL THEN concat_ws(' ', s.reason, s.row) END
FROM ({stored}) AS s(id, user_id, reason, row)
FULL JOIN unnest(%(ids)s::uuid[], %(reasons)s::text[], %(rows)s::jsonb[]) AS n(id, reason, row) ON n.id = s.id
WHERE (s.reason, s.row) IS DISTINCT FROM (n.reason, n.row)
ORDER BY n.id NULLS FIRST, s.id

-- name: of_users
-- Stored rejects of some users on the days in question, and of some rows by id. A row that now belongs to another user,
-- on a day in question, counts as that user's.
SELECT r.usage_daily_id, coalesce(u.user_id, r.row->>'user_id'), r.reason, r.row
FROM {job.rejects} AS r LEFT JOIN {app.usage_daily} AS u ON u.id = r.usage_daily_id AND {days}
WHERE r.usage_daily_id = ANY(%(ids)s::uuid[])
   OR u.user_id = ANY(%(users)s::text[])
   OR u.user_id IS NULL AND r.row->>'user_id' = ANY(%(users)s::text[]) AND {is_on_days}

-- name: is_undated
-- A condition: a stored reject is of no day.
coalesce(r.row->>'date', 'infinity') IN ('infinity', '-infinity')

-- name: is_on_days
-- A condition: a stored reject is of one of the days in question.
EXISTS (SELECT FROM unnest(%(firsts)s::text[], %(lasts)s::text[]) AS s(first, last)
        WHERE r.row->>'date' BETWEEN s.first AND s.last)

-- name: upsert
-- Inserts or updates rejects. An unchanged reject is not written, so last_seen changes only with the row.
INSERT INTO {job.rejects} AS r (usage_daily_id, reason, row)
SELECT * FROM unnest(%(ids)s::uuid[], %(reasons)s::text[], %(rows)s::jsonb[])
ON CONFLICT (usage_daily_id) DO UPDATE SET reason = EXCLUDED.reason, row = EXCLUDED.row, last_seen = now()
WHERE (r.reason, r.row) IS DISTINCT FROM (EXCLUDED.reason, EXCLUDED.row)

-- name: remove
-- Deletes rejects whose rows are valid now, or gone.
DELETE FROM {job.rejects} WHERE usage_daily_id = ANY(%(ids)s::uuid[])

-- name: stored_ownerless
-- Stored rejects of rows that had no user or no day, of rows that have moved to a user and a day in question since, and
-- of some rows by id; with the present user of the row.
SELECT r.usage_daily_id, coalesce(u.user_id, r.row->>'user_id'), r.reason, r.row
FROM {job.rejects} AS r LEFT JOIN {app.usage_daily} AS u ON u.id = r.usage_daily_id
WHERE r.usage_daily_id = ANY(%(ids)s::uuid[])
   OR {is_undated}
   OR r.row->>'user_id' IS NULL AND {is_on_days}
   OR u.user_id IS NOT NULL
     AND (u.user_id IS DISTINCT FROM r.row->>'user_id' OR u.date::text IS DISTINCT FROM r.row->>'date')
     AND EXISTS (
       SELECT FROM unnest(%(firsts)s::text[], %(lasts)s::text[]) AS s(first, last)
       WHERE u.date BETWEEN s.first::date AND s.last::date)

-- name: count
-- How many rows are rejected, on the days in question or without a day.
SELECT count(*) FROM {job.rejects} AS r
WHERE {is_undated} OR {is_on_days}

-- name: reject_rows
-- Rows that cannot be priced, with all columns that the job reads.
SELECT id::text, {row}::text FROM {app.usage_daily} AS u WHERE id = ANY(%(ids)s::uuid[])

-- name: outdated
-- Rejects on the days in question whose row differs from the stored one: a NaN that became Infinity has the same hash.
SELECT r.usage_daily_id::text FROM {job.rejects} AS r JOIN {app.usage_daily} AS u ON u.id = r.usage_daily_id
WHERE {days} AND u.user_id = r.row->>'user_id' AND u.date::text = r.row->>'date'
  AND r.row IS DISTINCT FROM {row}

-- name: ownerless
-- Rows without a day, and rows without a user on the days in question: batches do not read them, because they read by
-- user and day. The conditions can use indexes on date, and on user and date.
SELECT id FROM {app.usage_daily} WHERE date IS NULL OR date = 'infinity' OR date = '-infinity'
UNION ALL
SELECT id FROM {app.usage_daily} WHERE user_id IS NULL AND isfinite(date) AND {days}

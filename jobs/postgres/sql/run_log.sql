-- name: insert
-- Adds the row of a new run. The ownership check of each writing transaction reads it.
INSERT INTO {job.runs} (kind, window_from, window_to, reason, status, rates_hash, version, plan, who, inputs)
VALUES (%(kind)s, %(window_from)s, %(window_to)s, %(reason)s, 'running', %(rates_hash)s, %(version)s, %(plan)s::jsonb,
  %(who)s, %(inputs)s::jsonb)
ON CONFLICT DO NOTHING
RETURNING run_id

-- name: taken_numbers
-- How many run ids are taken at most.
SELECT count(*) FROM {job.runs}

-- name: has_written
-- A condition: a run, `r`, has written anything.
(coalesce(r.rows_changed, 0) > 0
  OR EXISTS (SELECT FROM {job.user_monthly} AS u
             WHERE u.month BETWEEN r.window_from AND r.window_to AND u.run_id = r.run_id)
  OR EXISTS (SELECT FROM {job.touched_days} AS t WHERE t.run_id = r.run_id))

-- name: history
-- The last day that the first run has covered, and the furthest day that any run has covered. A run that died counts
-- only if it has committed a batch, whose days later runs must cover. A done run always counts, except one whose clock
-- was ahead.
WITH committed AS (
  SELECT run_id, kind, coalesce(covered_to, window_to) AS covered_to FROM {job.runs} AS r
  WHERE kind IN ('run', 'backfill') AND window_to < %(today)s
    AND (status = 'done' OR {has_written})
)
SELECT
  (SELECT covered_to FROM committed WHERE kind = 'run' ORDER BY run_id LIMIT 1) AS first_run_last_day,
  (SELECT max(covered_to) FROM committed) AS furthest

-- name: covered_to
-- The furthest day of finished runs, without runs whose clock was ahead.
SELECT max(coalesce(covered_to, window_to)) FROM {job.runs}
WHERE kind IN ('run', 'backfill') AND status = 'done' AND window_to < %(today)s

-- name: last_done
-- The last finished run, and the settings and prices that it used.
SELECT run_id, inputs FROM {job.runs}
WHERE kind IN ('run', 'backfill') AND status = 'done'
ORDER BY run_id DESC LIMIT 1

-- name: interrupted
-- The last backfill of the same days, and its status.
SELECT run_id, CASE status WHEN 'running' THEN 'crashed' ELSE status END FROM {job.runs}
WHERE kind = 'backfill' AND window_from = %(first)s AND window_to = %(last)s ORDER BY run_id DESC LIMIT 1

-- name: mark_crashed
-- Marks running runs crashed: they are dead, or their ownership check fails from now on. Rows are locked in one order,
-- so that two runs cannot deadlock.
UPDATE {job.runs}
SET status = 'crashed', finished_at = now(),
    error = coalesce(error, 'found running by a later run: its process has ended')
WHERE run_id IN (SELECT run_id FROM {job.runs} WHERE status = 'running' ORDER BY run_id FOR UPDATE)

-- name: finish
-- Stores the end of a run.
UPDATE {job.runs}
SET status = %(status)s, finished_at = clock_timestamp(), rows_read = %(rows_read)s,
    rows_rejected = %(rows_rejected)s, rows_changed = %(rows_changed)s, total_cost = %(total_cost)s,
    credits = %(credits)s, covered_to = %(covered_to)s, error = %(error)s,
    accounts = %(accounts)s, overrides = %(overrides)s
WHERE run_id = %(run_id)s AND status = 'running'

-- name: status
-- The status of one run.
SELECT status FROM {job.runs} WHERE run_id = %(run_id)s

-- name: list
-- The run log, newest first.
SELECT run_id, kind, window_from, window_to, reason, status, started_at AT TIME ZONE 'UTC' AS started_at,
  finished_at AT TIME ZONE 'UTC' AS finished_at, rows_read, rows_rejected, rows_changed, total_cost, credits,
  rates_hash, version, error, who, inputs ->> 'settings_file' AS settings_file, inputs ->> 'rates_file' AS rates_file
FROM {job.runs} ORDER BY run_id DESC LIMIT %(limit)s

-- name: running
-- The run that holds the lock, according to the log.
SELECT run_id, kind, started_at AT TIME ZONE 'UTC' FROM {job.runs} WHERE status = 'running' ORDER BY run_id DESC LIMIT 1

-- name: last_run
-- The newest run, and whether it has written anything.
SELECT run_id, kind, window_from, window_to, status, {has_written} AS wrote
FROM {job.runs} AS r WHERE kind IN ('run', 'backfill') ORDER BY run_id DESC LIMIT 1

-- name: unfinished
-- Runs that have written something and did not finish, and whose days no later finished run covers.
SELECT run_id, kind, window_from, window_to, status, true FROM {job.runs} AS r
WHERE kind IN ('run', 'backfill') AND status IN ('crashed', 'failed')
  AND {has_written}
  AND NOT EXISTS (SELECT FROM {job.runs} AS later
                  WHERE later.run_id > r.run_id AND later.status = 'done' AND later.kind IN ('run', 'backfill')
                    AND later.window_from <= r.window_from AND later.window_to >= r.window_to)
ORDER BY run_id

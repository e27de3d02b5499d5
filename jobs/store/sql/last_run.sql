-- The newest run, and whether it has written anything.
SELECT run_id, kind, window_from, window_to, status, coalesce(rows_changed, 0) > 0
  OR EXISTS (SELECT FROM {user_monthly} AS u WHERE u.run_id = r.run_id)
  OR EXISTS (SELECT FROM {touched_days} AS t WHERE t.run_id = r.run_id) AS wrote
FROM {runs} AS r WHERE kind IN ('run', 'backfill') ORDER BY run_id DESC LIMIT 1

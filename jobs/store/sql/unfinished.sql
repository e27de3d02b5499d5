-- Runs that wrote and did not come to their end, nor has a later one that covers their days.
SELECT run_id, kind, window_from, window_to FROM {runs} AS r
WHERE kind IN ('run', 'backfill') AND status IN ('crashed', 'failed')
  AND (coalesce(rows_changed, 0) > 0 OR EXISTS (SELECT FROM {user_monthly} AS u WHERE u.run_id = r.run_id)
  OR EXISTS (SELECT FROM {touched_days} AS t WHERE t.run_id = r.run_id))
  AND NOT EXISTS (SELECT FROM {runs} AS later
                  WHERE later.run_id > r.run_id AND later.status = 'done' AND later.kind IN ('run', 'backfill')
                    AND later.window_from <= r.window_from AND later.window_to >= r.window_to)
ORDER BY run_id

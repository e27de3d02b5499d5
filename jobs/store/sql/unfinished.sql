-- Runs that wrote and did not come to their end, nor has a later one that covers their days.
SELECT run_id, kind, window_from, window_to FROM {runs} AS r
WHERE kind IN ('run', 'backfill') AND status IN ('crashed', 'failed')
  AND {wrote}
  AND NOT EXISTS (SELECT FROM {runs} AS later
                  WHERE later.run_id > r.run_id AND later.status = 'done' AND later.kind IN ('run', 'backfill')
                    AND later.window_from <= r.window_from AND later.window_to >= r.window_to)
ORDER BY run_id

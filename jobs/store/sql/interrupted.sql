-- The last backfill of the same days.
SELECT run_id, CASE status WHEN 'running' THEN 'crashed' ELSE status END FROM {runs}
WHERE kind = 'backfill' AND window_from = %s AND window_to = %s ORDER BY run_id DESC LIMIT 1

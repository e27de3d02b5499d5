-- Law 6: as many rows stand rejected as the last finished run counted.
SELECT 'run ' || r.run_id AS key, r.rows_rejected::numeric AS left_,
  (SELECT count(*) FROM {rejects} AS j
   WHERE coalesce(j.row ->> 'date', 'infinity') IN ('infinity', '-infinity')
      OR j.row ->> 'date' BETWEEN r.window_from::text AND r.window_to::text)::numeric AS right_
FROM {runs} AS r WHERE r.run_id = (SELECT max(run_id) FROM {runs} WHERE kind = 'run' AND status = 'done')
  AND r.run_id = (SELECT max(run_id) FROM {runs} WHERE kind IN ('run', 'backfill'))

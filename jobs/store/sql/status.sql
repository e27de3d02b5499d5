-- What the log says of one run.
SELECT status FROM {runs} WHERE run_id = %s

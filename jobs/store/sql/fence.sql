-- FOR SHARE: batches side by side do not wait for each other, but whoever marks the run crashed waits for them.
SELECT status FROM {runs} WHERE run_id = %s FOR SHARE

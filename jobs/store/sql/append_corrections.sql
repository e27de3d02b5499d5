-- New rows only, one a user-month and run.
INSERT INTO {corrections} ({columns}, reason, run_id)
SELECT {columns}, %(reason)s, %(run_id)s FROM {stage} ORDER BY month, user_id

-- New rows only, one a user-month and run.
INSERT INTO {corrections} (month, user_id, old_total, new_total, cause, reason, run_id)
SELECT month, user_id, old_total, new_total, cause, %(reason)s, %(run_id)s FROM {stage} ORDER BY month, user_id

-- Whether a run has written anything.
(coalesce(r.rows_changed, 0) > 0
  OR EXISTS (SELECT FROM {user_monthly} AS u WHERE u.month BETWEEN r.window_from AND r.window_to AND u.run_id = r.run_id)
  OR EXISTS (SELECT FROM {touched_days} AS t WHERE t.run_id = r.run_id))

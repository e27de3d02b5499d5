-- The last word of a run.
UPDATE {runs}
SET status = %(status)s, finished_at = clock_timestamp(), rows_read = %(rows_read)s,
    rows_rejected = %(rows_rejected)s, rows_changed = %(rows_changed)s, total_cost = %(total_cost)s,
    credits = %(credits)s, covered_to = %(covered_to)s, error = %(error)s,
    accounts = %(accounts)s, overrides = %(overrides)s
WHERE run_id = %(run_id)s AND status = 'running'

-- A run that still says running is dead, or fenced out by this; in one order, so that no two of us wait for each other.
UPDATE {runs}
SET status = 'crashed', finished_at = now(),
    error = coalesce(error, 'found running by a later run: the process ended without a word')
WHERE run_id IN (SELECT run_id FROM {runs} WHERE status = 'running' ORDER BY run_id FOR UPDATE)

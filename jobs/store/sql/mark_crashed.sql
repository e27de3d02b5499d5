-- Only the holder of the guard comes here: a run that still says running is dead, or fenced out by this.
UPDATE {runs}
SET status = 'crashed', finished_at = now(),
    error = coalesce(error, 'found running by a later run: the process ended without a word')
WHERE status = 'running'

-- How many numbers a new run may find taken, at most.
SELECT count(*) FROM {runs}

-- A closed month that should not be: the next run covers it like any open one.
UPDATE {months} SET closed_at = NULL, closed_by = NULL WHERE month = %s

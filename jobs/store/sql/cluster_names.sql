-- Names for the roll-ups; no other column of this table is ever read.
SELECT id::text, name FROM {clusters}

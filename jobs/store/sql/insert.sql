-- Rows that are new.
INSERT INTO {table} ({columns}, run_id) SELECT {columns}, %(run_id)s FROM {stage}

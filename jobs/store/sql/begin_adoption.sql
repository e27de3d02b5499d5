-- The import is a finished run of its own.
INSERT INTO {runs} (kind, window_from, window_to, status, finished_at, rows_read, rows_changed, credits, version)
VALUES ('adopt', %(first)s, %(last)s, 'done', clock_timestamp(), %(rows)s, %(rows)s, %(total)s, %(version)s)
ON CONFLICT DO NOTHING
RETURNING run_id

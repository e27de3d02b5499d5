-- name: insert
-- Rows that are new.
INSERT INTO {table} ({columns}, run_id) SELECT {columns}, %(run_id)s FROM {stage}

-- name: put
-- New rows go in, differing rows are replaced; a row that stands as it should is not touched, whoever sends it.
INSERT INTO {table} AS t ({columns}, run_id)
SELECT {columns}, %(run_id)s FROM {stage} ORDER BY {key}  -- in one order, so that no two writers wait for each other
ON CONFLICT ({key}) DO UPDATE SET {assignments}, {revision}run_id = EXCLUDED.run_id{updated}
WHERE ({standing}) IS DISTINCT FROM ({excluded})

-- name: remove
-- Rows whose usage is gone.
DELETE FROM {table} AS t USING {stage} AS s WHERE {same}

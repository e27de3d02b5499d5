-- name: insert
-- Inserts new rows.
INSERT INTO {table} ({columns}, run_id) SELECT {columns}, %(run_id)s FROM {stage}

-- name: upsert
-- Inserts new rows and updates rows that differ. A stored row that is equal is not written.
INSERT INTO {table} AS t ({columns}, run_id)
SELECT {columns}, %(run_id)s FROM {stage} ORDER BY {key}  -- in one order, so that two writers cannot deadlock
ON CONFLICT ({key}) DO UPDATE SET {assignments}, {revision}run_id = EXCLUDED.run_id{updated}
WHERE ({stored}) IS DISTINCT FROM ({excluded})

-- name: remove
-- Deletes rows that have no target row any more.
DELETE FROM {table} AS t USING {stage} AS s WHERE {same}

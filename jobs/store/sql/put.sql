-- New rows go in, differing rows are replaced; a row that stands as it should is not touched, whoever sends it.
INSERT INTO {table} AS t ({columns}, run_id)
SELECT {columns}, %(run_id)s FROM {stage} ORDER BY {key}  -- in one order, so that no two writers wait for each other
ON CONFLICT ({key}) DO UPDATE SET {assignments}, {revision}run_id = EXCLUDED.run_id{updated}
WHERE ({standing}) IS DISTINCT FROM ({excluded})

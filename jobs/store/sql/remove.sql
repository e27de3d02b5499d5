-- Rows whose usage is gone.
DELETE FROM {table} AS t USING {stage} AS s WHERE {same}

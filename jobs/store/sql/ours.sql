-- Those of the first edition do not name their schema.
type = 'usage' AND CASE WHEN metadata ->> 'schema' IS NULL
  THEN metadata ->> 'run_id' IN (SELECT run_id::text FROM {runs}) ELSE metadata ->> 'schema' = {schema} END

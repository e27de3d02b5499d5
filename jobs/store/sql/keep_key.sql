-- A key that was dropped is made again: without it rows are neither found nor replaced.
DO $key$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = {quoted}::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[])
                ORDER BY 1) = {columns}::text[]
  ) THEN
    ALTER TABLE {table} ADD {key};
  END IF;
END
$key$

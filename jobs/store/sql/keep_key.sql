-- A key that was dropped is made again: without it rows are neither found nor replaced.
DO $key$
DECLARE
  lesser text;
BEGIN
  FOR lesser IN
    SELECT o.conname FROM pg_constraint o JOIN pg_index i ON i.indexrelid = o.conindid
    WHERE o.conrelid = {quoted}::regclass AND o.contype = 'u' AND NOT i.indnullsnotdistinct AND {nulls}
      AND ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid
                AND a.attnum = ANY(i.indkey::int2[]) ORDER BY 1) = {columns}::text[]
  LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', {quoted}, lesser);
  END LOOP;
  IF NOT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = {quoted}::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND i.indnullsnotdistinct >= {nulls}
      AND ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[])
                ORDER BY 1) = {columns}::text[]
  ) THEN
    ALTER TABLE {table} ADD {key};
  END IF;
END
$key$

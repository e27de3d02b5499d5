-- A table that has rows and has lost one of these columns is not completed: what was booked cannot be made up.
DO $kept$
DECLARE
  lost text;
BEGIN
  SELECT string_agg(c.name, ', ') INTO lost FROM unnest({columns}::text[]) AS c(name)
  WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = {quoted}::regclass AND a.attname = c.name
                    AND NOT a.attisdropped);
  IF lost IS NOT NULL AND EXISTS (SELECT FROM {table}) THEN
    RAISE EXCEPTION '% has rows and has lost %: restore it from a backup', {quoted}, lost USING ERRCODE = 'restrict_violation';
  END IF;
END
$kept$

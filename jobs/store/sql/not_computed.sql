-- From the first version on: what it did not compute becomes null, once.
DO $null$
BEGIN
  IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = {quoted}::regclass AND attname = 'uncovered' AND attnotnull) THEN
    ALTER TABLE {table} ALTER COLUMN {uncovered} DROP NOT NULL, ALTER COLUMN {uncovered} DROP DEFAULT,
      ALTER COLUMN {amount_due} DROP NOT NULL, ALTER COLUMN {amount_due} DROP DEFAULT,
      ALTER COLUMN {amount_reported} DROP NOT NULL, ALTER COLUMN {amount_reported} DROP DEFAULT;
    UPDATE {table} SET {uncovered} = NULL, {amount_due} = NULL, {amount_reported} = NULL;
  END IF;
END
$null$

-- Entries of the first adoption have revision 0. The table is append-only: an UPDATE would be refused, another type is not.
DO $imported$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = {quoted}::regclass AND attname = 'imported' AND NOT attisdropped
  ) THEN
    ALTER TABLE {table} ADD COLUMN imported boolean NOT NULL DEFAULT false;
    ALTER TABLE {table} ALTER COLUMN imported TYPE boolean USING revision = 0;
  END IF;
END
$imported$

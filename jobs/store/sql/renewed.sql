-- A roll-up that lacks a column, or is gone, is to be computed again: open months are no longer comparable.
DO $renewed$
BEGIN
  IF EXISTS (
    SELECT FROM unnest({columns}::text[]) AS c(name)
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass({quoted}) AND a.attname = c.name
                      AND NOT a.attisdropped)
  ) AND EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass({quoted_months}) AND a.attname = 'fingerprint'
      AND NOT a.attisdropped
  ) THEN
    UPDATE {months} SET fingerprint = NULL WHERE closed_at IS NULL AND fingerprint IS NOT NULL;
  END IF;
END
$renewed$

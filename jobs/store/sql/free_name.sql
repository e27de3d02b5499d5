-- What has this name and is not ours stays.
DO $name$
BEGIN
  IF to_regclass({quoted}) IS NOT NULL
    AND coalesce(obj_description(to_regclass({quoted}), 'pg_class'), '') NOT LIKE 'usage-jobs:%' THEN
    RAISE EXCEPTION '% is there already, and not ours: rename it', {quoted} USING ERRCODE = 'duplicate_table';
  END IF;
END
$name$

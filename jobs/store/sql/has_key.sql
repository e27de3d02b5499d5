-- Whether rows of a table can be found by their id through an index.
SELECT EXISTS (
  SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
  WHERE i.indrelid = to_regclass({quoted}) AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'id'
)

-- How usage_daily lies on disk: whether it is a table by itself, of the types that are packed, its pages and bytes,
-- whether an index leads to a day, by the statistics its rows and those of a day (0: not known), and how full new rows
-- make a page.
SELECT c.relkind = 'r' AND NOT c.relhassubclass AND has_column_privilege(c.oid, 'ctid', 'SELECT') AND (
    SELECT array_agg(a.atttypid::regtype::text ORDER BY a.attname) FROM pg_attribute AS a
    WHERE a.attrelid = c.oid AND a.attname IN ('date', 'hopsworks_cluster_id', 'id', 'user_id') AND NOT a.attisdropped
  ) = ARRAY['date', 'uuid', 'uuid', 'text'],
  pg_relation_size(c.oid) / current_setting('block_size')::bigint,
  pg_relation_size(c.oid),
  EXISTS (SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
          WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'date'),
  greatest(c.reltuples, 0)::bigint,
  coalesce((SELECT greatest(c.reltuples, 0) / nullif(greatest(s.n_distinct, 0), 0) FROM pg_stats AS s
            WHERE s.schemaname = {schema} AND s.tablename = 'usage_daily' AND s.attname = 'date'), 0)::bigint,
  coalesce((SELECT o.option_value FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'fillfactor'), '100')::int
FROM pg_class AS c WHERE c.oid = to_regclass({quoted})

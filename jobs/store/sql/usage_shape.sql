-- How usage_daily lies on disk: its pages and bytes, whether an index leads to a user's days and to a day, by the
-- statistics its rows, and how full new rows make a page.
SELECT
  pg_relation_size(c.oid) / current_setting('block_size')::bigint,
  pg_relation_size(c.oid),
  EXISTS (SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
          WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'user_id'),
  EXISTS (SELECT FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
          WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND a.attname = 'date'),
  greatest(c.reltuples, 0)::bigint,
  coalesce((SELECT o.option_value FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'fillfactor'), '100')::int
FROM pg_class AS c WHERE c.oid = to_regclass({quoted})

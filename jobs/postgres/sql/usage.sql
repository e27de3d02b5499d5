-- name: read
-- Usage of some days, in the table's own order. Quantities and costs travel as whole numbers of 10^-10, rounded
-- here so that no reader rounds on its own; -1 marks a value that cannot be taken. Nothing else of the row is read.
SELECT
  id::text AS id,
  user_id,
  date,
  hopsworks_cluster_id::text AS cluster_id,
  {recorded} AS recorded,
  {deducted} AS deducted,
  {reported} AS reported,
  {usage_hash} AS usage_hash,
  {written_hash} AS written_hash,
  {quantities}
FROM {usage}
WHERE {filter}

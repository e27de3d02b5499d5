-- name: rows
-- Usage rows, in no particular order. Quantities and costs are whole numbers of 10^-10, rounded here so that no reader
-- rounds differently; -1 marks a value that is not valid. No other column of the row is read.
SELECT
  {columns},
  {recorded} AS recorded,
  {deducted} AS deducted,
  {reported} AS reported,
  {usage_hash} AS usage_hash,
  {written_hash} AS written_hash,
  {quantities}
FROM {app.usage_daily} AS u
WHERE {filter}

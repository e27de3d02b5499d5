-- A law over all of its rows: both sums, how many rows break it, the first ten of them.
SELECT coalesce(sum(left_), 0), coalesce(sum(right_), 0), count(*) FILTER (WHERE left_ IS DISTINCT FROM right_),
  coalesce((array_agg(key ORDER BY key) FILTER (WHERE left_ IS DISTINCT FROM right_))[1:10], '{{}}')
FROM ({law}) AS law

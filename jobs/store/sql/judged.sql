-- A law over all of its rows: both sums, how many rows break it, the first ten of them, and how their sides differ.
SELECT coalesce(sum(left_), 0), coalesce(sum(right_), 0), count(*) FILTER (WHERE {is_broken}),
  coalesce((array_agg(key ORDER BY key) FILTER (WHERE {is_broken}))[1:10], '{{}}'),
  coalesce((array_agg({difference} ORDER BY key) FILTER (WHERE {is_broken}))[1:10], '{{}}')
FROM ({law}) AS law

-- Rejects of the days in question, or of no day.
SELECT count(*) FROM {rejects} AS r
WHERE coalesce(r.row->>'date', 'infinity') IN ('infinity', '-infinity') OR EXISTS (
  SELECT FROM unnest(%(firsts)s::text[], %(lasts)s::text[]) AS s(first, last)
  WHERE r.row->>'date' BETWEEN s.first AND s.last)

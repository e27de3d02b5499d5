-- Between which pages the rows of some days lie.
SELECT (min(ctid)::text::point)[0]::bigint, (max(ctid)::text::point)[0]::bigint FROM {usage} WHERE {filter}

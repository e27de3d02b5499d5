-- What the run found in the month; a month closes once. Nothing is written where nothing differs.
UPDATE {months} AS m
SET row_count = %(row_count)s, usage_hash = %(usage_hash)s, rates_hash = %(rates_hash)s,
    total_cost = %(total_cost)s, fingerprint = %(fingerprint)s,
    currency = coalesce(m.currency, %(currency)s),
    closed_at = CASE WHEN %(closes)s THEN now() ELSE m.closed_at END,
    closed_by = CASE WHEN %(closes)s THEN %(run_id)s ELSE m.closed_by END
WHERE m.month = %(month)s
  AND ((m.row_count, m.usage_hash, m.rates_hash, m.total_cost, m.fingerprint)
       IS DISTINCT FROM (%(row_count)s::bigint, %(usage_hash)s::bigint, %(rates_hash)s::text,
                         %(total_cost)s::numeric, %(fingerprint)s::text)
       OR m.currency IS NULL OR %(closes)s)

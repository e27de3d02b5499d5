-- What the whole ledger, closed months included, says of some rows, by user; whether another program began it; and what it
-- said before the newest entry.
SELECT usage_daily_id, user_id, sum(amount), bool_or(imported),
  coalesce(sum(amount) FILTER (WHERE revision < newest), 0)
FROM (
  SELECT usage_daily_id, user_id, revision, imported, free + purchased AS amount,
    max(revision) OVER (PARTITION BY usage_daily_id, user_id) AS newest
  FROM {draws} WHERE usage_daily_id = ANY(%(ids)s::uuid[])
) AS d GROUP BY 1, 2

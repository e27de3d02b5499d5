-- What the whole ledger, closed months included, says of some rows, by user; what it said before the newest entry; and what
-- of it stands in closed months that are not computed now.
SELECT usage_daily_id, user_id, sum(amount), coalesce(sum(amount) FILTER (WHERE revision < newest), 0),
  coalesce(sum(amount) FILTER (WHERE is_elsewhere), 0)
FROM (
  SELECT usage_daily_id, user_id, revision, free + purchased AS amount,
    max(revision) OVER (PARTITION BY usage_daily_id, user_id) AS newest,
    month <> ALL(%(window)s::date[]) AND NOT EXISTS (
      SELECT FROM {months} AS m WHERE m.month = d.month AND m.closed_at IS NULL) AS is_elsewhere
  FROM (
    SELECT usage_daily_id, user_id, revision, free, purchased, date_trunc('month', usage_date)::date AS month FROM {draws}
  ) AS d
  WHERE usage_daily_id = ANY(%(ids)s::uuid[])
) AS d GROUP BY 1, 2

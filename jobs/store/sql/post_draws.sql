-- New rows only; the key refuses a revision that somebody else has booked. Of what is taken for a row's first draw no
-- earlier one is looked for: were there one, the key would tell, and the count of rows.
INSERT INTO {draws} (usage_daily_id, user_id, revision, usage_date, free, purchased, imported, run_id)
SELECT id, user_id, revision, date, free, purchased, %(imported)s, %(run_id)s
FROM (
  SELECT s.*, 1 AS revision FROM usage_jobs_draws AS s WHERE s.first
  UNION ALL
  SELECT s.*,
    coalesce((SELECT max(d.revision) FROM {draws} AS d WHERE d.usage_daily_id = s.id AND d.user_id = s.user_id), 0)
      + row_number() OVER (PARTITION BY s.id, s.user_id ORDER BY s.month)
  FROM usage_jobs_draws AS s WHERE NOT s.first
) AS p
ORDER BY user_id, date, id
ON CONFLICT DO NOTHING

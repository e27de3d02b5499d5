-- New rows only; the key refuses a revision that somebody else has booked. Of what is taken for a row's first draw no
-- earlier one is looked for: were there one, the key would tell, and the count of rows.
INSERT INTO {draws} (usage_daily_id, user_id, revision, usage_date, free, purchased, run_id)
SELECT s.id, s.user_id,
  CASE WHEN s.first THEN 1 ELSE
    coalesce((SELECT max(d.revision) FROM {draws} AS d WHERE d.usage_daily_id = s.id AND d.user_id = s.user_id), 0)
      + row_number() OVER (PARTITION BY s.id, s.user_id ORDER BY s.month) END,
  s.date, s.free, s.purchased, %(run_id)s
FROM usage_jobs_draws AS s
ORDER BY s.user_id, s.date, s.id
ON CONFLICT DO NOTHING

-- Law 4: revisions without gaps: of each row and user as many as the highest says, one more where the first was imported.
SELECT usage_daily_id || ' ' || user_id AS key, count(*)::numeric AS left_,
  (max(revision) + (min(revision) = 0)::int)::numeric AS right_
FROM {draws} GROUP BY usage_daily_id, user_id

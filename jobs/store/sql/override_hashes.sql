-- By which price overrides user-months were priced.
SELECT user_id, month, overrides_hash FROM {user_monthly}
WHERE month = ANY(%(months)s::date[]) AND row_count IS NOT NULL
  AND (overrides_hash IS NOT NULL OR user_id = ANY(%(users)s))

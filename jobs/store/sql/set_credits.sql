credits_deducted = CASE WHEN s.shown IS NOT NULL THEN trim_scale(s.shown) WHEN s.drawn THEN
  (SELECT trim_scale(coalesce(sum(d.free + d.purchased), 0)) FROM {draws} AS d
   WHERE d.usage_daily_id = u.id AND d.user_id = u.user_id) ELSE u.credits_deducted END

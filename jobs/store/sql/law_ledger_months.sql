-- Law 4: what the ledger says of a user and month is what the roll-up says. One row per user, month and kind of credit.
-- What was adopted of days that no run has covered is in no roll-up yet; whose account is gone is left as it was booked.
SELECT coalesce(d.user_id, u.user_id) || ' ' || to_char(coalesce(d.month, u.month), 'YYYY-MM') || ' ' || k.kind AS key,
  coalesce(CASE k.kind WHEN 'free' THEN d.free ELSE d.purchased END, 0) AS left_,
  coalesce(CASE k.kind WHEN 'free' THEN u.credits_free ELSE u.credits_purchased END, 0) AS right_
FROM (
  SELECT user_id, date_trunc('month', usage_date)::date AS month, sum(free) AS free, sum(purchased) AS purchased
  FROM {draws}
  WHERE usage_date BETWEEN %(first)s AND %(last)s + interval '1 month - 1 day' AND {drawn_has}
    AND date_trunc('month', usage_date)::date = ANY(%(covered)s::date[])  -- a backfill leaves gaps between months
    AND (usage_date <= %(until)s OR EXISTS (
      SELECT FROM {usage} AS r WHERE r.id = usage_daily_id AND r.user_id = {draws}.user_id AND r.date <= %(until)s
        AND NOT EXISTS (SELECT FROM {months} AS m
                        WHERE m.month = date_trunc('month', r.date) AND m.closed_at IS NOT NULL)))
  GROUP BY 1, 2
) AS d
FULL JOIN (
  SELECT user_id, month, credits_free, credits_purchased
  FROM {user_monthly} WHERE month BETWEEN %(first)s AND %(last)s AND {user_has}
) AS u ON u.user_id = d.user_id AND u.month = d.month
CROSS JOIN (VALUES ('free'), ('purchased')) AS k(kind)

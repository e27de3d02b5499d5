-- Law 4: what the ledger says of a row by its present user is its credits_deducted. A row that has moved to another user
-- since the last run still shows what it was drawn for the one before: the next run puts that right, in a closed month a
-- backfill. So rows of open months are judged, and of closed ones where these were asked for. (A date may lie beyond any
-- timestamp.)
SELECT coalesce(d.id, u.id)::text AS key,
  CASE WHEN d.everybody = u.deducted THEN u.deducted ELSE coalesce(d.present, 0) END AS left_,
  coalesce(u.deducted, 0) AS right_
FROM (
  SELECT d.usage_daily_id AS id, sum(d.free + d.purchased) AS everybody,
    sum(d.free + d.purchased) FILTER (WHERE d.user_id = r.user_id) AS present
  FROM {draws} AS d JOIN {usage} AS r ON r.id = d.usage_daily_id
  WHERE date_trunc('month', least(r.date, '9999-12-31')) = ANY(%(months)s::date[]) GROUP BY 1
) AS d
FULL JOIN (SELECT id, round(credits_deducted::numeric, 10) AS deducted FROM {usage}
           WHERE credits_deducted <> 0 AND date_trunc('month', least(date, '9999-12-31')) = ANY(%(months)s::date[])) AS u ON u.id = d.id

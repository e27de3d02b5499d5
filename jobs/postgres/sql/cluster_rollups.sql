-- name: touch_days
-- Days of which a batch changes user_daily: until they are regrouped the cluster tables do not have them.
INSERT INTO {touched_days} (run_id, batch, date)
SELECT %(run_id)s, %(batch)s, * FROM unnest(%(days)s::date[]) ON CONFLICT DO NOTHING

-- name: days_to_regroup
-- Days that some run has touched, and days of the window on which a cluster has got another name. Days of a month whose
-- users are only partly in user_daily (one of the first edition) wait for the backfill that was begun.
SELECT t.date FROM {touched_days} AS t
WHERE date_trunc('month', t.date)::date = ANY(%(months)s::date[]) OR EXISTS (
  SELECT FROM {months} AS m WHERE m.month = date_trunc('month', t.date)::date AND m.fingerprint IS NOT NULL)
UNION
SELECT d.date FROM {cluster_daily} AS d LEFT JOIN ({names}) AS n ON n.id = d.cluster_id
WHERE {days} AND d.cluster_name IS DISTINCT FROM n.name
ORDER BY 1

-- name: names
SELECT id, name FROM {clusters}

-- name: no_names
SELECT NULL::uuid AS id, NULL::text AS name

-- name: grouped_days
SELECT date, cluster_id, count(*) AS users, {sums}
FROM {user_daily} WHERE date = ANY({days}::date[]) GROUP BY date, cluster_id

-- name: month_users
SELECT u.month, c.cluster_id, count(*) AS active_users
FROM {user_monthly} AS u CROSS JOIN LATERAL unnest(u.clusters) AS c(cluster_id)
WHERE u.month = ANY({months}::date[]) GROUP BY u.month, c.cluster_id

-- name: untouch_days
DELETE FROM {touched_days} WHERE date = ANY(%(days)s::date[])

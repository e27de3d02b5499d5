-- name: touch_days
-- Marks days on which a batch changes user_daily. Until they are regrouped, the cluster tables do not have the change.
INSERT INTO {job.touched_days} (run_id, batch, date)
SELECT %(run_id)s, %(batch)s, * FROM unnest(%(days)s::date[]) ON CONFLICT DO NOTHING

-- name: days_to_regroup
-- Days that some run has touched, and days of the window on which a cluster has another name now. Days of a month whose
-- users are only partly in user_daily (a month of the first version) wait for the end of its backfill.
SELECT t.date FROM {job.touched_days} AS t
WHERE date_trunc('month', t.date)::date = ANY(%(months)s::date[]) OR EXISTS (
  SELECT FROM {job.months} AS m WHERE m.month = date_trunc('month', t.date)::date AND m.fingerprint IS NOT NULL)
UNION
SELECT d.date FROM {job.cluster_daily} AS d LEFT JOIN ({names}) AS n ON n.id = d.cluster_id
WHERE {days} AND d.cluster_name IS DISTINCT FROM n.name
ORDER BY 1

-- name: names
-- Name of each cluster.
SELECT id, name FROM {app.hopsworks_clusters}

-- name: no_names
-- The same where there is no table of clusters.
SELECT NULL::uuid AS id, NULL::text AS name

-- name: grouped_days
-- user_daily of some days, grouped by the key of cluster_daily.
SELECT {key}, count(*) AS users, {sums}
FROM {job.user_daily} WHERE date = ANY({days}::date[]) GROUP BY {key}

-- name: month_users
-- How many users each cluster has in some months.
SELECT u.month, c.cluster_id, count(*) AS active_users
FROM {job.user_monthly} AS u CROSS JOIN LATERAL unnest(u.clusters) AS c(cluster_id)
WHERE u.month = ANY({months}::date[]) GROUP BY u.month, c.cluster_id

-- name: untouch_days
-- Removes the marks of days that are regrouped now.
DELETE FROM {job.touched_days} WHERE date = ANY(%(days)s::date[])

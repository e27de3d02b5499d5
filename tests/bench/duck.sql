-- All results in DuckDB, from one read of usage_daily; variables as in script.sql. Numerics without a scale arrive as
-- doubles, by binary COPY of parts of the table side by side; hundredths are made of them again, exactly, while they
-- come in. From there on amounts are whole numbers of 10^-10.
ATTACH ':url' AS pg (TYPE postgres, READ_ONLY);

CREATE TEMP TABLE usage AS
SELECT id, user_id, date, hopsworks_cluster_id AS cluster_id,
  CAST(coalesce(cpu_hours, 0) * 100 AS BIGINT) * 100000000 AS cpu_hours,
  CAST(coalesce(gpu_hours, 0) * 100 AS BIGINT) * 100000000 AS gpu_hours,
  CAST(coalesce(storage_gb, 0) * 100 AS BIGINT) * 100000000 AS storage_gb,
  CAST(coalesce(feature_store_api_calls, 0) AS BIGINT) * 10000000000 AS feature_store_api_calls,
  CAST(coalesce(model_inference_calls, 0) AS BIGINT) * 10000000000 AS model_inference_calls
FROM pg.usage_daily WHERE date BETWEEN ':first' AND ':last';

CREATE TEMP TABLE payers AS
SELECT u.id AS user_id, greatest(free + least(bought, 0), 0) AS free_left, greatest(bought + least(free, 0), 0) AS bought_left
FROM postgres_query('pg', $$
  SELECT u.id, floor(100 * coalesce(a.free_credits_granted - a.free_credits_used + coalesce(own.free, 0), 0))::bigint AS free,
    floor(100 * coalesce(a.total_purchased - a.total_used + coalesce(own.purchased, 0), 0))::bigint AS bought
  FROM users AS u LEFT JOIN user_credits AS a ON a.user_id = u.id LEFT JOIN (
    SELECT user_id, sum(credits_free) AS free, sum(credits_purchased) AS purchased FROM peer.user_monthly
    WHERE month BETWEEN date_trunc('month', DATE ':first') AND ':last' GROUP BY user_id
  ) AS own ON own.user_id = u.id
  WHERE u.billing_mode = 'prepaid'
$$) AS u;

-- Users with several rows on a day: only these need an order for their tiers, and may be counted twice.
CREATE TEMP TABLE shared AS
SELECT id, sum(storage_gb) OVER by_day - storage_gb AS storage_before, row_number() OVER by_day = 1 AS new_day,
  row_number() OVER (PARTITION BY user_id, date, cluster_id ORDER BY id) = 1 AS new_cluster
FROM usage JOIN (SELECT user_id, date FROM usage GROUP BY ALL HAVING count(*) > 1) USING (user_id, date)
WINDOW by_day AS (PARTITION BY user_id, date ORDER BY cluster_id NULLS LAST, id ROWS UNBOUNDED PRECEDING);

CREATE TEMP TABLE charged AS
SELECT n.*, (2 * storage_owed + per - 1 + (storage_owed // per & 1)) // (2 * per) AS storage_gb_cost,  -- half to even
  cpu_hours_cost + gpu_hours_cost + feature_store_api_calls_cost + model_inference_calls_cost + storage_gb_cost AS total_cost
FROM (
  SELECT q.*, :cpu_hours_cost AS cpu_hours_cost, :gpu_hours_cost AS gpu_hours_cost,
    :feature_store_api_calls_cost AS feature_store_api_calls_cost,
    :model_inference_calls_cost AS model_inference_calls_cost,
    :storage_upto - CASE WHEN storage_before = 0 THEN 0 ELSE :storage_before END AS storage_owed,
    day(last_day(date)) * :per_storage AS per
  FROM (
    SELECT u.*, CAST(date_trunc('month', u.date) AS DATE) AS month, coalesce(s.new_day, true) AS new_day,
      coalesce(s.new_cluster, true) AS new_cluster, CAST(coalesce(s.storage_before, 0) AS BIGINT) AS storage_before
    FROM usage AS u LEFT JOIN shared AS s ON s.id = u.id
  ) AS q
) AS n;

-- The draws of every prepaid row, in cents: free credits first, then purchased ones
CREATE TEMP TABLE draws AS
WITH running AS (
  SELECT c.id, c.user_id, c.date, c.month, c.cluster_id, c.total_cost, p.free_left, p.bought_left,
    CAST(sum(c.total_cost) OVER (PARTITION BY c.user_id, c.month ORDER BY c.date, c.cluster_id NULLS LAST, c.id
      ROWS UNBOUNDED PRECEDING) AS BIGINT) AS upto
  FROM charged AS c JOIN payers AS p USING (user_id)
),
parted AS (  -- the running cost in cents, half to even, less what it was before the row
  SELECT running.*, (upto + 49999999 + (upto // 100000000 & 1)) // 100000000
    - (upto - total_cost + 49999999 + ((upto - total_cost) // 100000000 & 1)) // 100000000 AS part
  FROM running
),
demanded AS (
  SELECT parted.*, CAST(sum(part) OVER (PARTITION BY user_id ORDER BY date, cluster_id NULLS LAST, id
    ROWS UNBOUNDED PRECEDING) AS BIGINT) AS demand
  FROM parted
)
SELECT id, user_id, date, month, cluster_id, least(demand, free_left) - least(demand - part, free_left) AS free,
  least(greatest(demand - free_left, 0), bought_left)
    - least(greatest(demand - part - free_left, 0), bought_left) AS purchased
FROM demanded;

CREATE TEMP TABLE rows AS
SELECT c.id, c.total_cost, coalesce(d.free + d.purchased, 0) * 100000000 AS credits_deducted
FROM charged AS c LEFT JOIN draws AS d ON d.id = c.id;

CREATE TEMP TABLE months AS
SELECT s.* EXCLUDE cents, coalesce(d.free, 0) * 100000000 AS credits_free, coalesce(d.purchased, 0) * 100000000 AS credits_purchased,
  CASE WHEN p.user_id IS NULL THEN 0 ELSE (cents - coalesce(d.free + d.purchased, 0)) * 100000000 END AS uncovered,
  CASE WHEN p.user_id IS NULL THEN cents * 100000000 ELSE 0 END AS amount_due
FROM (
  SELECT month, user_id, count_if(new_day) AS days, sum(cpu_hours) AS cpu_hours, sum(cpu_hours_cost) AS cpu_hours_cost,
    sum(gpu_hours) AS gpu_hours, sum(gpu_hours_cost) AS gpu_hours_cost,
    (2 * sum(storage_gb) + day(last_day(month)) - 1 + (sum(storage_gb) // day(last_day(month)) & 1))
      // (2 * day(last_day(month))) AS storage_gb, sum(storage_gb_cost) AS storage_gb_cost,
    sum(feature_store_api_calls) AS feature_store_api_calls,
    sum(feature_store_api_calls_cost) AS feature_store_api_calls_cost,
    sum(model_inference_calls) AS model_inference_calls,
    sum(model_inference_calls_cost) AS model_inference_calls_cost, sum(total_cost) AS total_cost,
    (sum(total_cost) + 49999999 + (sum(total_cost) // 100000000 & 1)) // 100000000 AS cents
  FROM charged GROUP BY month, user_id
) AS s LEFT JOIN (
  SELECT month, user_id, sum(free) AS free, sum(purchased) AS purchased FROM draws GROUP BY month, user_id
) AS d USING (month, user_id) LEFT JOIN payers AS p USING (user_id);

CREATE TEMP TABLE clusters AS
SELECT s.*, coalesce(d.credits, 0) * 100000000 AS credits_deducted
FROM (
  SELECT date, cluster_id, count_if(new_cluster) AS users, sum(cpu_hours) AS cpu_hours,
    sum(cpu_hours_cost) AS cpu_hours_cost, sum(gpu_hours) AS gpu_hours, sum(gpu_hours_cost) AS gpu_hours_cost,
    sum(storage_gb) AS storage_gb, sum(storage_gb_cost) AS storage_gb_cost,
    sum(feature_store_api_calls) AS feature_store_api_calls,
    sum(feature_store_api_calls_cost) AS feature_store_api_calls_cost,
    sum(model_inference_calls) AS model_inference_calls,
    sum(model_inference_calls_cost) AS model_inference_calls_cost, sum(total_cost) AS total_cost
  FROM charged GROUP BY date, cluster_id
) AS s LEFT JOIN (
  SELECT date, cluster_id, sum(free + purchased) AS credits FROM draws GROUP BY date, cluster_id
) AS d ON d.date = s.date AND d.cluster_id IS NOT DISTINCT FROM s.cluster_id;

CREATE TEMP TABLE cluster_months AS
SELECT m.month, m.cluster_id, u.active_users, m.max_users, m.* EXCLUDE (month, cluster_id, max_users),
  (2 * total_cost + active_users - 1 + (total_cost // active_users & 1)) // (2 * active_users) AS cost_per_user
FROM (
  SELECT month, cluster_id, max(users) AS max_users,
    sum(cpu_hours) AS cpu_hours, sum(cpu_hours_cost) AS cpu_hours_cost, sum(gpu_hours) AS gpu_hours,
    sum(gpu_hours_cost) AS gpu_hours_cost,
    (2 * sum(storage_gb) + day(last_day(month)) - 1 + (sum(storage_gb) // day(last_day(month)) & 1))
      // (2 * day(last_day(month))) AS storage_gb, sum(storage_gb_cost) AS storage_gb_cost,
    sum(feature_store_api_calls) AS feature_store_api_calls,
    sum(feature_store_api_calls_cost) AS feature_store_api_calls_cost,
    sum(model_inference_calls) AS model_inference_calls,
    sum(model_inference_calls_cost) AS model_inference_calls_cost, sum(total_cost) AS total_cost,
    sum(credits_deducted) AS credits_deducted
  FROM (SELECT *, CAST(date_trunc('month', date) AS DATE) AS month FROM clusters) GROUP BY month, cluster_id
) AS m JOIN (
  SELECT month, cluster_id, count(*) AS active_users
  FROM (SELECT DISTINCT month, cluster_id, user_id FROM charged) GROUP BY month, cluster_id
) AS u ON u.month = m.month AND u.cluster_id IS NOT DISTINCT FROM m.cluster_id

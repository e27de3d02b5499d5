-- All that a run of usage-jobs computes and writes, by one transaction in the database, as somebody would who trusts
-- nothing but SQL; variables as psql takes them. Amounts are whole numbers of 10^-10 in bigints, which add and divide
-- much faster than numerics. Rows are priced once, into a table that parallel workers then read: temporary ones they
-- cannot, so that ours are unlogged.

BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL work_mem = '512MB';
SET LOCAL max_parallel_workers_per_gather = :workers;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL random_page_cost = 1.1;
SET LOCAL jit = off;

-- The days: a join with thirty rows is cheaper than date_trunc on each of millions.
CREATE UNLOGGED TABLE peer.calendar AS
SELECT day::date AS date, date_trunc('month', day)::date AS month,
  extract(day FROM date_trunc('month', day) + interval '1 month - 1 day')::bigint AS month_days
FROM generate_series(:'first'::date, :'last'::date, interval '1 day') AS day;
ANALYZE peer.calendar;

-- Users with several rows on a day: only these need an order for their tiers, and may be counted twice.
CREATE UNLOGGED TABLE peer.several AS
SELECT user_id, date FROM usage_daily WHERE date BETWEEN :'first' AND :'last'
GROUP BY user_id, date HAVING count(*) > 1;
ANALYZE peer.several;

CREATE UNLOGGED TABLE peer.shared AS
SELECT u.id, u.rank = 1 AS new_day, u.rank_here = 1 AS new_cluster,
  (u.upto - coalesce(u.storage, 0)) AS storage_before
FROM (
  SELECT id, (storage_gb * 10000000000)::bigint AS storage, row_number() OVER by_day AS rank,
    coalesce(sum((storage_gb * 10000000000)::bigint) OVER by_day, 0)::bigint AS upto,
    row_number() OVER (PARTITION BY user_id, date, hopsworks_cluster_id ORDER BY id) AS rank_here
  FROM peer.several JOIN usage_daily USING (user_id, date)
  WINDOW by_day AS (PARTITION BY user_id, date ORDER BY hopsworks_cluster_id, id ROWS UNBOUNDED PRECEDING)
) AS u;
ANALYZE peer.shared;

-- Charges. OFFSET 0 keeps the planner from converting a numeric wherever its name stands.
SET LOCAL parallel_tuple_cost = 0;
CREATE UNLOGGED TABLE peer.charged AS
SELECT n.*, (2 * storage_owed + per - 1 + (storage_owed / per & 1)) / (2 * per) AS storage_gb_cost,
  cpu_hours_cost + gpu_hours_cost + feature_store_api_calls_cost + model_inference_calls_cost
    + (2 * storage_owed + per - 1 + (storage_owed / per & 1)) / (2 * per) AS cost  -- half to even
FROM (
  SELECT q.*, :cpu_hours_cost AS cpu_hours_cost, :gpu_hours_cost AS gpu_hours_cost,
    :feature_store_api_calls_cost AS feature_store_api_calls_cost,
    :model_inference_calls_cost AS model_inference_calls_cost,
    :storage_upto - CASE WHEN storage_before = 0 THEN 0 ELSE :storage_before END AS storage_owed,
    month_days * :per_storage AS per
  FROM (
    SELECT u.id, u.user_id, u.date, c.month, c.month_days, u.hopsworks_cluster_id AS cluster_id,
      coalesce((u.cpu_hours * 10000000000)::bigint, 0) AS cpu_hours,
      coalesce((u.gpu_hours * 10000000000)::bigint, 0) AS gpu_hours,
      coalesce((u.storage_gb * 10000000000)::bigint, 0) AS storage_gb,
      coalesce(u.feature_store_api_calls, 0) * 10000000000 AS feature_store_api_calls,
      coalesce(u.model_inference_calls, 0) * 10000000000 AS model_inference_calls,
      coalesce(s.storage_before, 0) AS storage_before, coalesce(s.new_day, true) AS new_day,
      coalesce(s.new_cluster, true) AS new_cluster, s.id IS NULL AS is_alone, u.total_cost, u.credits_deducted
    FROM usage_daily AS u JOIN peer.calendar AS c USING (date) LEFT JOIN peer.shared AS s ON s.id = u.id
    WHERE u.date BETWEEN :'first' AND :'last'
    OFFSET 0
  ) AS q
  OFFSET 0
) AS n;

-- Sums by user and cluster, of which those by user and those by cluster are made
CREATE UNLOGGED TABLE peer.by_user AS
SELECT month, month_days, user_id, cluster_id, count(*) AS row_count,
  count(*) FILTER (WHERE new_day) AS days,
  sum(cpu_hours)::bigint AS cpu_hours, sum(cpu_hours_cost)::bigint AS cpu_hours_cost,
  sum(gpu_hours)::bigint AS gpu_hours, sum(gpu_hours_cost)::bigint AS gpu_hours_cost,
  sum(storage_gb)::bigint AS storage_gb, sum(storage_gb_cost)::bigint AS storage_gb_cost,
  sum(feature_store_api_calls)::bigint AS feature_store_api_calls,
  sum(feature_store_api_calls_cost)::bigint AS feature_store_api_calls_cost,
  sum(model_inference_calls)::bigint AS model_inference_calls,
  sum(model_inference_calls_cost)::bigint AS model_inference_calls_cost
FROM peer.charged GROUP BY month, month_days, user_id, cluster_id;
ANALYZE peer.by_user;

CREATE UNLOGGED TABLE peer.by_cluster AS
SELECT date, month, month_days, cluster_id, count(*) FILTER (WHERE new_cluster) AS users,
  sum(cpu_hours) AS cpu_hours, sum(cpu_hours_cost) AS cpu_hours_cost,
  sum(gpu_hours) AS gpu_hours, sum(gpu_hours_cost) AS gpu_hours_cost,
  sum(storage_gb) AS storage_gb, sum(storage_gb_cost) AS storage_gb_cost,
  sum(feature_store_api_calls) AS feature_store_api_calls,
  sum(feature_store_api_calls_cost) AS feature_store_api_calls_cost,
  sum(model_inference_calls) AS model_inference_calls,
  sum(model_inference_calls_cost) AS model_inference_calls_cost
FROM peer.charged GROUP BY date, month, month_days, cluster_id;
ANALYZE peer.by_cluster;

-- Who pays by credits, under a number that sorts faster than a text; what is left, in cents, without our own draws
CREATE UNLOGGED TABLE peer.payers AS
SELECT row_number() OVER ()::integer AS number, user_id,
  greatest(free + least(bought, 0), 0)::bigint AS free_left, greatest(bought + least(free, 0), 0)::bigint AS bought_left
FROM (
  SELECT u.id AS user_id,
    floor(100 * coalesce(a.free_credits_granted - a.free_credits_used + coalesce(own.free, 0), 0)) AS free,
    floor(100 * coalesce(a.total_purchased - a.total_used + coalesce(own.purchased, 0), 0)) AS bought
  FROM users AS u LEFT JOIN user_credits AS a ON a.user_id = u.id LEFT JOIN (
    SELECT user_id, sum(free) AS free, sum(purchased) AS purchased FROM peer.credit_draws
    WHERE usage_date BETWEEN :'first' AND :'last' GROUP BY user_id
  ) AS own ON own.user_id = u.id
  WHERE u.billing_mode = 'prepaid'
) AS accounts;
ANALYZE peer.payers;

-- The draws of every prepaid row, in cents: free credits first, then purchased ones
CREATE UNLOGGED TABLE peer.draws AS
WITH running AS (
  SELECT c.id, p.number, c.user_id, c.date, c.month, c.cluster_id, c.cost, p.free_left, p.bought_left,
    (sum(c.cost) OVER (PARTITION BY p.number, c.month ORDER BY c.date, c.cluster_id, c.id
      ROWS UNBOUNDED PRECEDING))::bigint AS upto
  FROM peer.charged AS c JOIN peer.payers AS p USING (user_id)
),
parted AS (  -- the running cost in cents, half to even, less what it was before the row
  SELECT running.*, ((upto + 49999999 + (upto / 100000000 & 1)) / 100000000
    - (upto - cost + 49999999 + ((upto - cost) / 100000000 & 1)) / 100000000)::integer AS part
  FROM running
),
demanded AS (
  SELECT parted.*, sum(part) OVER (PARTITION BY number ORDER BY month, date, cluster_id, id
    ROWS UNBOUNDED PRECEDING) AS demand
  FROM parted
)
SELECT id, user_id, date, month, cluster_id, least(demand, free_left) - least(demand - part, free_left) AS free,
  least(greatest(demand - free_left, 0), bought_left)
    - least(greatest(demand - part - free_left, 0), bought_left) AS purchased
FROM demanded;
ANALYZE peer.draws;

-- What the ledger lacks
CREATE UNLOGGED TABLE peer.due AS
SELECT coalesce(d.id, b.id) AS id, coalesce(d.user_id, b.user_id) AS user_id, coalesce(d.date, b.date) AS date,
  coalesce(b.revision, 0) + 1 AS revision, coalesce(d.free, 0) * 0.01 - coalesce(b.free, 0) AS free,
  coalesce(d.purchased, 0) * 0.01 - coalesce(b.purchased, 0) AS purchased
FROM peer.draws AS d FULL JOIN (
  SELECT usage_daily_id AS id, user_id, max(usage_date) AS date, max(revision) AS revision, sum(free) AS free,
    sum(purchased) AS purchased
  FROM peer.credit_draws WHERE usage_date BETWEEN :'first' AND :'last' GROUP BY usage_daily_id, user_id
) AS b ON b.id = d.id AND b.user_id = d.user_id
WHERE coalesce(d.free, 0) * 0.01 <> coalesce(b.free, 0)
  OR coalesce(d.purchased, 0) * 0.01 <> coalesce(b.purchased, 0);
ANALYZE peer.due;

INSERT INTO peer.credit_draws (usage_daily_id, user_id, revision, usage_date, free, purchased)
SELECT id, user_id, revision, date, free, purchased FROM peer.due;

-- The transactions: one for a row that is newly drawn, one for all corrections of a user's month
INSERT INTO credit_transactions
  (user_id, type, amount, balance_before, balance_after, description, metadata, created_at)
WITH entries AS (
  SELECT user_id, -(free + purchased) AS amount, date, id::text AS tie, 'Usage of ' || date AS description,
    jsonb_build_object('usage_date', date, 'usage_daily_id', id, 'free', free, 'purchased', purchased) AS metadata
  FROM peer.due WHERE revision = 1
  UNION ALL
  SELECT user_id, -sum(free + purchased), month, '', 'Correction of usage in ' || to_char(month, 'YYYY-MM'),
    jsonb_build_object('month', month, 'free', sum(free), 'purchased', sum(purchased))
  FROM peer.due JOIN peer.calendar USING (date) WHERE revision > 1 GROUP BY user_id, month
  HAVING sum(free + purchased) <> 0
),
chained AS (
  SELECT entries.*, sum(amount) OVER (PARTITION BY user_id ORDER BY amount < 0, date, tie ROWS UNBOUNDED PRECEDING) AS running
  FROM entries
)
SELECT user_id, 'usage', amount, balance + running - amount, balance + running, description, metadata, clock_timestamp()
FROM chained JOIN (
  SELECT user_id, total_purchased + free_credits_granted - total_used - free_credits_used AS balance FROM user_credits
) AS accounts USING (user_id);

UPDATE user_credits AS a SET total_used = total_used + d.purchased, free_credits_used = free_credits_used + d.free
FROM (SELECT user_id, sum(free) AS free, sum(purchased) AS purchased FROM peer.due GROUP BY user_id) AS d
WHERE a.user_id = d.user_id AND (d.free <> 0 OR d.purchased <> 0);

-- Both columns of usage_daily at once, where one of them differs
CREATE UNLOGGED TABLE peer.changed AS
SELECT c.id, c.cost * 0.0000000001 AS total_cost, coalesce(d.free + d.purchased, 0) * 0.01 AS credits_deducted
FROM peer.charged AS c LEFT JOIN peer.draws AS d ON d.id = c.id
WHERE c.total_cost IS DISTINCT FROM c.cost * 0.0000000001
  OR c.credits_deducted IS DISTINCT FROM coalesce(d.free + d.purchased, 0) * 0.01;
ANALYZE peer.changed;

UPDATE usage_daily AS u SET total_cost = c.total_cost, credits_deducted = c.credits_deducted
FROM peer.changed AS c WHERE u.id = c.id;

-- Days of users in each cluster: those that differ go, and come again. Only users with several rows on a day need sums.
ANALYZE peer.charged;
SET LOCAL enable_mergejoin = off;
CREATE UNLOGGED TABLE peer.days_due AS
SELECT coalesce(n.date, t.date) AS date, coalesce(n.user_id, t.user_id) AS user_id,
  coalesce(n.cluster_id, t.cluster_id) AS cluster_id, t.date IS NOT NULL AS stored, n.date IS NOT NULL AS wanted,
  n.cpu_hours, n.cpu_hours_cost, n.gpu_hours, n.gpu_hours_cost, n.storage_gb, n.storage_gb_cost,
  n.feature_store_api_calls, n.feature_store_api_calls_cost, n.model_inference_calls, n.model_inference_calls_cost,
  n.total_cost, n.credits_deducted
FROM (
  SELECT date, user_id, cluster_id,
    cpu_hours * 0.0000000001 AS cpu_hours, cpu_hours_cost * 0.0000000001 AS cpu_hours_cost,
    gpu_hours * 0.0000000001 AS gpu_hours, gpu_hours_cost * 0.0000000001 AS gpu_hours_cost,
    storage_gb * 0.0000000001 AS storage_gb, storage_gb_cost * 0.0000000001 AS storage_gb_cost,
    feature_store_api_calls * 0.0000000001 AS feature_store_api_calls,
    feature_store_api_calls_cost * 0.0000000001 AS feature_store_api_calls_cost,
    model_inference_calls * 0.0000000001 AS model_inference_calls,
    model_inference_calls_cost * 0.0000000001 AS model_inference_calls_cost, cost * 0.0000000001 AS total_cost,
    credits * 0.01 AS credits_deducted
  FROM (
    SELECT date, user_id, cluster_id, cpu_hours, cpu_hours_cost, gpu_hours, gpu_hours_cost, storage_gb,
      storage_gb_cost, feature_store_api_calls, feature_store_api_calls_cost, model_inference_calls,
      model_inference_calls_cost, cost, coalesce(d.free + d.purchased, 0) AS credits
    FROM peer.charged LEFT JOIN (SELECT id, free, purchased FROM peer.draws) AS d USING (id) WHERE is_alone
    UNION ALL
    SELECT date, user_id, cluster_id,
      sum(cpu_hours)::bigint, sum(cpu_hours_cost)::bigint, sum(gpu_hours)::bigint, sum(gpu_hours_cost)::bigint,
      sum(storage_gb)::bigint, sum(storage_gb_cost)::bigint, sum(feature_store_api_calls)::bigint,
      sum(feature_store_api_calls_cost)::bigint, sum(model_inference_calls)::bigint,
      sum(model_inference_calls_cost)::bigint, sum(cost)::bigint, coalesce(sum(d.free + d.purchased), 0)
    FROM peer.charged LEFT JOIN (SELECT id, free, purchased FROM peer.draws) AS d USING (id) WHERE NOT is_alone
    GROUP BY date, user_id, cluster_id
  ) AS days
) AS n FULL JOIN (
  SELECT * FROM peer.user_daily WHERE date BETWEEN :'first' AND :'last'
) AS t ON t.date = n.date AND t.user_id = n.user_id
  AND coalesce(t.cluster_id, '00000000-0000-0000-0000-000000000000')
    = coalesce(n.cluster_id, '00000000-0000-0000-0000-000000000000')
WHERE t.date IS NULL OR n.date IS NULL OR (
    n.cpu_hours, n.cpu_hours_cost, n.gpu_hours, n.gpu_hours_cost, n.storage_gb, n.storage_gb_cost,
    n.feature_store_api_calls, n.feature_store_api_calls_cost, n.model_inference_calls, n.model_inference_calls_cost,
    n.total_cost, n.credits_deducted
  ) IS DISTINCT FROM (
    t.cpu_hours, t.cpu_hours_cost, t.gpu_hours, t.gpu_hours_cost, t.storage_gb, t.storage_gb_cost,
    t.feature_store_api_calls, t.feature_store_api_calls_cost, t.model_inference_calls, t.model_inference_calls_cost,
    t.total_cost, t.credits_deducted
  );
ANALYZE peer.days_due;
SET LOCAL enable_mergejoin = on;

DELETE FROM peer.user_daily AS t USING peer.days_due AS n
WHERE n.stored AND n.date = t.date AND n.user_id = t.user_id AND n.cluster_id IS NOT DISTINCT FROM t.cluster_id;

INSERT INTO peer.user_daily
SELECT date, user_id, cluster_id, cpu_hours, cpu_hours_cost, gpu_hours, gpu_hours_cost, storage_gb, storage_gb_cost,
  feature_store_api_calls, feature_store_api_calls_cost, model_inference_calls, model_inference_calls_cost,
  0, total_cost, credits_deducted
FROM peer.days_due WHERE wanted;

-- Months of users
CREATE UNLOGGED TABLE peer.months_now AS
SELECT b.month, b.user_id, b.days, b.cpu_hours, b.cpu_hours_cost, b.gpu_hours, b.gpu_hours_cost,
  (2 * b.storage_gb + b.month_days - 1 + (b.storage_gb / b.month_days & 1)) / (2 * b.month_days) AS storage_gb,
  b.storage_gb_cost, b.feature_store_api_calls, b.feature_store_api_calls_cost, b.model_inference_calls,
  b.model_inference_calls_cost, b.cost, b.storage_gb AS storage_gb_days, b.clusters, b.row_count,
  coalesce(d.free, 0) AS free, coalesce(d.purchased, 0) AS purchased,
  (b.cost + 49999999 + (b.cost / 100000000 & 1)) / 100000000 AS cents, p.user_id IS NOT NULL AS prepaid
FROM (
  SELECT month, month_days, user_id, sum(days)::bigint AS days, sum(row_count)::bigint AS row_count,
    coalesce(array_agg(cluster_id ORDER BY cluster_id) FILTER (WHERE cluster_id IS NOT NULL), '{}') AS clusters,
    sum(cpu_hours)::bigint AS cpu_hours, sum(cpu_hours_cost)::bigint AS cpu_hours_cost,
    sum(gpu_hours)::bigint AS gpu_hours, sum(gpu_hours_cost)::bigint AS gpu_hours_cost,
    sum(storage_gb)::bigint AS storage_gb, sum(storage_gb_cost)::bigint AS storage_gb_cost,
    sum(feature_store_api_calls)::bigint AS feature_store_api_calls,
    sum(feature_store_api_calls_cost)::bigint AS feature_store_api_calls_cost,
    sum(model_inference_calls)::bigint AS model_inference_calls,
    sum(model_inference_calls_cost)::bigint AS model_inference_calls_cost,
    sum(cpu_hours_cost + gpu_hours_cost + storage_gb_cost + feature_store_api_calls_cost
      + model_inference_calls_cost)::bigint AS cost
  FROM peer.by_user GROUP BY month, month_days, user_id
) AS b LEFT JOIN (
  SELECT month, user_id, sum(free)::bigint AS free, sum(purchased)::bigint AS purchased
  FROM peer.draws GROUP BY month, user_id
) AS d USING (month, user_id) LEFT JOIN peer.payers AS p USING (user_id);

DELETE FROM peer.user_monthly AS t WHERE month IN (SELECT month FROM peer.calendar)
  AND NOT EXISTS (SELECT FROM peer.months_now AS n WHERE n.month = t.month AND n.user_id = t.user_id);

INSERT INTO peer.user_monthly
SELECT month, user_id, days, cpu_hours * 0.0000000001, cpu_hours_cost * 0.0000000001,
  gpu_hours * 0.0000000001, gpu_hours_cost * 0.0000000001, storage_gb * 0.0000000001, storage_gb_cost * 0.0000000001,
  feature_store_api_calls * 0.0000000001, feature_store_api_calls_cost * 0.0000000001,
  model_inference_calls * 0.0000000001, model_inference_calls_cost * 0.0000000001, cost * 0.0000000001,
  free * 0.01, purchased * 0.01, CASE WHEN prepaid THEN (cents - free - purchased) * 0.01 ELSE 0 END,
  CASE WHEN prepaid THEN 0 ELSE cents * 0.01 END, storage_gb_days * 0.0000000001, 0, (free + purchased) * 0.01,
  clusters, row_count
FROM peer.months_now
EXCEPT SELECT * FROM peer.user_monthly WHERE month IN (SELECT month FROM peer.calendar)
ON CONFLICT (month, user_id) DO UPDATE SET days = EXCLUDED.days, cpu_hours = EXCLUDED.cpu_hours,
  cpu_hours_cost = EXCLUDED.cpu_hours_cost, gpu_hours = EXCLUDED.gpu_hours, gpu_hours_cost = EXCLUDED.gpu_hours_cost,
  storage_gb = EXCLUDED.storage_gb, storage_gb_cost = EXCLUDED.storage_gb_cost,
  feature_store_api_calls = EXCLUDED.feature_store_api_calls,
  feature_store_api_calls_cost = EXCLUDED.feature_store_api_calls_cost,
  model_inference_calls = EXCLUDED.model_inference_calls,
  model_inference_calls_cost = EXCLUDED.model_inference_calls_cost, total_cost = EXCLUDED.total_cost,
  credits_free = EXCLUDED.credits_free, credits_purchased = EXCLUDED.credits_purchased,
  uncovered = EXCLUDED.uncovered, amount_due = EXCLUDED.amount_due, storage_gb_days = EXCLUDED.storage_gb_days,
  credits_deducted = EXCLUDED.credits_deducted, clusters = EXCLUDED.clusters, row_count = EXCLUDED.row_count;

-- Days of clusters
DELETE FROM peer.cluster_daily AS t WHERE date BETWEEN :'first' AND :'last' AND NOT EXISTS (
  SELECT FROM peer.by_cluster AS n WHERE n.date = t.date AND n.cluster_id IS NOT DISTINCT FROM t.cluster_id);

INSERT INTO peer.cluster_daily
SELECT b.date, b.cluster_id, h.name, b.users, b.cpu_hours * 0.0000000001, b.cpu_hours_cost * 0.0000000001,
  b.gpu_hours * 0.0000000001, b.gpu_hours_cost * 0.0000000001,
  b.storage_gb * 0.0000000001, b.storage_gb_cost * 0.0000000001,
  b.feature_store_api_calls * 0.0000000001, b.feature_store_api_calls_cost * 0.0000000001,
  b.model_inference_calls * 0.0000000001, b.model_inference_calls_cost * 0.0000000001,
  (b.cpu_hours_cost + b.gpu_hours_cost + b.storage_gb_cost + b.feature_store_api_calls_cost
    + b.model_inference_calls_cost) * 0.0000000001, coalesce(d.credits, 0) * 0.01
FROM peer.by_cluster AS b LEFT JOIN hopsworks_clusters AS h ON h.id = b.cluster_id LEFT JOIN (
  SELECT date, cluster_id, sum(free + purchased) AS credits FROM peer.draws GROUP BY date, cluster_id
) AS d ON d.date = b.date AND d.cluster_id IS NOT DISTINCT FROM b.cluster_id
EXCEPT SELECT * FROM peer.cluster_daily WHERE date BETWEEN :'first' AND :'last'
ON CONFLICT (date, cluster_id) DO UPDATE SET cluster_name = EXCLUDED.cluster_name, users = EXCLUDED.users,
  cpu_hours = EXCLUDED.cpu_hours, cpu_hours_cost = EXCLUDED.cpu_hours_cost, gpu_hours = EXCLUDED.gpu_hours,
  gpu_hours_cost = EXCLUDED.gpu_hours_cost, storage_gb = EXCLUDED.storage_gb,
  storage_gb_cost = EXCLUDED.storage_gb_cost, feature_store_api_calls = EXCLUDED.feature_store_api_calls,
  feature_store_api_calls_cost = EXCLUDED.feature_store_api_calls_cost,
  model_inference_calls = EXCLUDED.model_inference_calls,
  model_inference_calls_cost = EXCLUDED.model_inference_calls_cost, total_cost = EXCLUDED.total_cost,
  credits_deducted = EXCLUDED.credits_deducted;

-- Months of clusters: users who were there from by_user, the rest from the days
DELETE FROM peer.cluster_monthly AS t WHERE month IN (SELECT month FROM peer.calendar) AND NOT EXISTS (
  SELECT FROM peer.by_cluster AS n WHERE n.month = t.month AND n.cluster_id IS NOT DISTINCT FROM t.cluster_id);

INSERT INTO peer.cluster_monthly
SELECT m.month, m.cluster_id, m.cluster_name, u.active_users, m.max_users, m.cpu_hours, m.cpu_hours_cost, m.gpu_hours,
  m.gpu_hours_cost, div(2 * m.storage_units + m.month_days - 1 + div(m.storage_units, m.month_days) % 2,
    2 * m.month_days) * 0.0000000001, m.storage_gb_cost, m.feature_store_api_calls, m.feature_store_api_calls_cost,
  m.model_inference_calls, m.model_inference_calls_cost, m.total_cost, m.credits_deducted,
  div(2 * m.cost_units + u.active_users - 1 + div(m.cost_units, u.active_users) % 2, 2 * u.active_users) * 0.0000000001
FROM (
  SELECT c.month, c.month_days, d.cluster_id, d.cluster_name, max(d.users) AS max_users,
    sum(d.cpu_hours) AS cpu_hours, sum(d.cpu_hours_cost) AS cpu_hours_cost, sum(d.gpu_hours) AS gpu_hours,
    sum(d.gpu_hours_cost) AS gpu_hours_cost, sum(d.storage_gb) * 10000000000 AS storage_units,
    sum(d.storage_gb_cost) AS storage_gb_cost, sum(d.feature_store_api_calls) AS feature_store_api_calls,
    sum(d.feature_store_api_calls_cost) AS feature_store_api_calls_cost,
    sum(d.model_inference_calls) AS model_inference_calls,
    sum(d.model_inference_calls_cost) AS model_inference_calls_cost, sum(d.total_cost) AS total_cost,
    sum(d.total_cost) * 10000000000 AS cost_units, sum(d.credits_deducted) AS credits_deducted
  FROM peer.cluster_daily AS d JOIN peer.calendar AS c USING (date)
  GROUP BY c.month, c.month_days, d.cluster_id, d.cluster_name
) AS m JOIN (
  SELECT month, cluster_id, count(*) AS active_users FROM peer.by_user GROUP BY month, cluster_id
) AS u ON u.month = m.month AND u.cluster_id IS NOT DISTINCT FROM m.cluster_id
EXCEPT SELECT * FROM peer.cluster_monthly WHERE month IN (SELECT month FROM peer.calendar)
ON CONFLICT (month, cluster_id) DO UPDATE SET cluster_name = EXCLUDED.cluster_name,
  active_users = EXCLUDED.active_users, max_users = EXCLUDED.max_users, cpu_hours = EXCLUDED.cpu_hours,
  cpu_hours_cost = EXCLUDED.cpu_hours_cost, gpu_hours = EXCLUDED.gpu_hours, gpu_hours_cost = EXCLUDED.gpu_hours_cost,
  storage_gb = EXCLUDED.storage_gb, storage_gb_cost = EXCLUDED.storage_gb_cost,
  feature_store_api_calls = EXCLUDED.feature_store_api_calls,
  feature_store_api_calls_cost = EXCLUDED.feature_store_api_calls_cost,
  model_inference_calls = EXCLUDED.model_inference_calls,
  model_inference_calls_cost = EXCLUDED.model_inference_calls_cost, total_cost = EXCLUDED.total_cost,
  credits_deducted = EXCLUDED.credits_deducted, cost_per_user = EXCLUDED.cost_per_user;

DROP TABLE peer.calendar, peer.several, peer.shared, peer.charged, peer.by_user, peer.by_cluster, peer.payers,
  peer.draws, peer.due, peer.changed, peer.days_due, peer.months_now;
COMMIT

-- the draws of every row
CREATE TEMP TABLE drawn ON COMMIT DROP AS
WITH running AS (
  SELECT u.id, u.user_id, u.date, u.hopsworks_cluster_id, u.total_cost,
    sum(u.total_cost) OVER (PARTITION BY u.user_id, date_trunc('month', u.date)
      ORDER BY u.date, u.hopsworks_cluster_id NULLS LAST, u.id ROWS UNBOUNDED PRECEDING) AS c
  FROM usage_daily AS u JOIN users ON users.id = u.user_id WHERE users.billing_mode = 'prepaid'
),
rounded AS (  -- half to even, at two decimals
  SELECT running.*,
    round(c, 2) - CASE WHEN c * 100 % 1 = 0.5 AND floor(c * 100) % 2 = 0 THEN 0.01 ELSE 0 END AS upto,
    round(c - total_cost, 2) - CASE WHEN (c - total_cost) * 100 % 1 = 0.5
      AND floor((c - total_cost) * 100) % 2 = 0 THEN 0.01 ELSE 0 END AS before
  FROM running
),
demanded AS (
  SELECT rounded.*, upto - before AS part, sum(upto - before) OVER (PARTITION BY user_id
    ORDER BY date, hopsworks_cluster_id NULLS LAST, id ROWS UNBOUNDED PRECEDING) AS demand
  FROM rounded
),
freely AS (
  SELECT d.*, a.free_credits_granted - a.free_credits_used AS free_left, a.total_purchased - a.total_used AS bought_left
  FROM demanded AS d JOIN user_credits AS a USING (user_id)
),
taken AS (
  SELECT freely.*, least(demand, free_left) - least(demand - part, free_left) AS free,
    demand - least(demand, free_left) AS open, demand - part - least(demand - part, free_left) AS open_before
  FROM freely
)
SELECT id, user_id, date, free, least(open, bought_left) - least(open_before, bought_left) AS purchased FROM taken;
-- only what is drawn
DELETE FROM drawn WHERE free = 0 AND purchased = 0;
-- statistics
ANALYZE drawn;
-- the ledger
INSERT INTO rollup.credit_draws (usage_daily_id, user_id, revision, usage_date, free, purchased, run_id)
SELECT id, user_id, 1, date, free, purchased, 1 FROM drawn ORDER BY user_id, date;
-- the transactions
INSERT INTO credit_transactions
  (user_id, type, amount, balance_before, balance_after, description, metadata, created_at)
SELECT d.user_id, 'usage', -amount, balance - running + amount, balance - running, 'Usage of ' || date,
  jsonb_build_object('run_id', 1, 'usage_date', date, 'usage_daily_id', id, 'free', free, 'purchased', purchased),
  clock_timestamp()
FROM (
  SELECT drawn.*, free + purchased AS amount, sum(free + purchased) OVER (PARTITION BY user_id ORDER BY date, id) AS running
  FROM drawn
) AS d JOIN (
  SELECT user_id, total_purchased + free_credits_granted - total_used - free_credits_used AS balance FROM user_credits
) AS a USING (user_id) ORDER BY d.user_id, date, id;
-- the accounts
UPDATE user_credits AS a SET total_used = total_used + d.purchased, free_credits_used = free_credits_used + d.free
FROM (SELECT user_id, sum(free) AS free, sum(purchased) AS purchased FROM drawn GROUP BY 1) AS d
WHERE a.user_id = d.user_id;
-- credits_deducted
UPDATE usage_daily AS u SET credits_deducted = d.free + d.purchased FROM drawn AS d WHERE u.id = d.id

-- The billing page's history: a newly drawn row by itself, corrections together by user and month. Of a user those that
-- give back come first, so that no balance on the way falls below 0. Before the accounts change: they are locked. What
-- is told of a row is made after it was sorted: it is wider than all that decides.
WITH entries AS (
  SELECT user_id, -(free + purchased) AS amount, date AS sorted, id, free, purchased, NULL::jsonb AS days
  FROM usage_jobs_draws WHERE fresh
  UNION ALL
  SELECT user_id, -sum(free + purchased), month, NULL, sum(free), sum(purchased),
    jsonb_agg(jsonb_build_object('usage_date', date, 'free', trim_scale(free),
      'purchased', trim_scale(purchased)) ORDER BY date, id)
  FROM usage_jobs_draws WHERE NOT fresh GROUP BY user_id, month
)
INSERT INTO {transactions}
  (user_id, type, amount, balance_before, balance_after, description, metadata, created_at)
SELECT c.user_id, 'usage', trim_scale(c.amount), {balance} + trim_scale(sum(c.amount) OVER earlier - c.amount),
  {balance} + trim_scale(sum(c.amount) OVER earlier),
  CASE WHEN c.days IS NULL THEN 'Usage of ' || c.sorted
    ELSE 'Correction of usage in ' || to_char(c.sorted, 'YYYY-MM') END,
  CASE WHEN c.days IS NULL THEN
    jsonb_build_object('schema', %(schema)s::text, 'run_id', %(run_id)s::bigint, 'usage_date', c.sorted, 'usage_daily_id', c.id,
      'free', trim_scale(c.free), 'purchased', trim_scale(c.purchased))
  ELSE
    jsonb_build_object('schema', %(schema)s::text, 'run_id', %(run_id)s::bigint, 'month', c.sorted,
      'free', trim_scale(c.free), 'purchased', trim_scale(c.purchased), 'days', c.days)
  END,
  clock_timestamp()
FROM entries AS c JOIN {accounts} AS a ON a.user_id = c.user_id
WHERE c.amount <> 0
WINDOW earlier AS (PARTITION BY c.user_id ORDER BY c.amount < 0, c.sorted, c.id NULLS FIRST ROWS UNBOUNDED PRECEDING)
ORDER BY c.user_id, c.amount < 0, c.sorted, c.id NULLS FIRST

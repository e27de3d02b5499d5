-- The billing page's history: a newly drawn row by itself, corrections together by user and month. Of a user those that
-- give back come first, so that no balance on the way falls below 0. Before the accounts change: they are locked.
WITH entries AS (
  SELECT user_id, -(free + purchased) AS amount, date AS sorted, id::text AS tie,
    'Usage of ' || date AS description,
    jsonb_build_object('run_id', %(run_id)s::bigint, 'usage_date', date, 'usage_daily_id', id,
      'free', trim_scale(free), 'purchased', trim_scale(purchased)) AS metadata
  FROM usage_jobs_draws WHERE fresh
  UNION ALL
  SELECT user_id, -sum(free + purchased), month, '', 'Correction of usage in ' || to_char(month, 'YYYY-MM'),
    jsonb_build_object('run_id', %(run_id)s::bigint, 'month', month,
      'free', trim_scale(sum(free)), 'purchased', trim_scale(sum(purchased)),
      'days', jsonb_agg(jsonb_build_object('usage_date', date, 'free', trim_scale(free),
        'purchased', trim_scale(purchased)) ORDER BY date, id))
  FROM usage_jobs_draws WHERE NOT fresh GROUP BY user_id, month
),
chained AS (
  SELECT entries.*, sum(amount) OVER (PARTITION BY user_id ORDER BY amount < 0, sorted, tie ROWS UNBOUNDED PRECEDING) AS running
  FROM entries WHERE amount <> 0
)
INSERT INTO {transactions}
  (user_id, type, amount, balance_before, balance_after, description, metadata, created_at)
SELECT c.user_id, 'usage', trim_scale(c.amount), {balance} + trim_scale(c.running - c.amount),
  {balance} + trim_scale(c.running), c.description, c.metadata, clock_timestamp()
FROM chained AS c JOIN {accounts} AS a ON a.user_id = c.user_id
ORDER BY c.user_id, c.amount < 0, c.sorted, c.tie

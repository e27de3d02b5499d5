-- What the job has written, where the script would have: both then start their next run from one and the same state.
TRUNCATE peer.user_daily, peer.user_monthly, peer.cluster_daily, peer.cluster_monthly, peer.credit_draws;
INSERT INTO peer.user_daily
SELECT date, user_id, cluster_id, cpu_hours, cpu_hours_cost, gpu_hours, gpu_hours_cost, storage_gb, storage_gb_cost,
  feature_store_api_calls, feature_store_api_calls_cost, model_inference_calls, model_inference_calls_cost,
  adjustment_cost, total_cost, credits_deducted
FROM rollup.user_daily;
INSERT INTO peer.user_monthly
SELECT month, user_id, days, cpu_hours, cpu_hours_cost, gpu_hours, gpu_hours_cost, storage_gb, storage_gb_cost,
  feature_store_api_calls, feature_store_api_calls_cost, model_inference_calls, model_inference_calls_cost, total_cost,
  credits_free, credits_purchased, uncovered, amount_due, storage_gb_days, adjustment_cost, credits_deducted,
  ARRAY(SELECT each FROM unnest(clusters) AS each WHERE each IS NOT NULL ORDER BY each), row_count
FROM rollup.user_monthly;
INSERT INTO peer.cluster_daily
SELECT date, cluster_id, cluster_name, users, cpu_hours, cpu_hours_cost, gpu_hours, gpu_hours_cost, storage_gb,
  storage_gb_cost, feature_store_api_calls, feature_store_api_calls_cost, model_inference_calls,
  model_inference_calls_cost, total_cost, credits_deducted
FROM rollup.cluster_daily;
INSERT INTO peer.cluster_monthly
SELECT month, cluster_id, cluster_name, active_users, max_users, cpu_hours, cpu_hours_cost, gpu_hours, gpu_hours_cost,
  storage_gb, storage_gb_cost, feature_store_api_calls, feature_store_api_calls_cost, model_inference_calls,
  model_inference_calls_cost, total_cost, credits_deducted, cost_per_user
FROM rollup.cluster_monthly;
INSERT INTO peer.credit_draws (usage_daily_id, user_id, revision, usage_date, free, purchased)
SELECT usage_daily_id, user_id, revision, usage_date, free, purchased FROM rollup.credit_draws

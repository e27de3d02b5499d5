-- Where the SQL script keeps what the job keeps in its schema rollup: the same columns, less what only a job of many
-- runs needs (hashes, revisions of months, who wrote it). Made beforehand; its making is not timed.
CREATE SCHEMA peer;
CREATE TABLE peer.user_monthly (
  month date,
  user_id text,
  days bigint NOT NULL,
  cpu_hours numeric(38,10) NOT NULL,
  cpu_hours_cost numeric(38,10) NOT NULL,
  gpu_hours numeric(38,10) NOT NULL,
  gpu_hours_cost numeric(38,10) NOT NULL,
  storage_gb numeric(38,10) NOT NULL,
  storage_gb_cost numeric(38,10) NOT NULL,
  feature_store_api_calls numeric(38,10) NOT NULL,
  feature_store_api_calls_cost numeric(38,10) NOT NULL,
  model_inference_calls numeric(38,10) NOT NULL,
  model_inference_calls_cost numeric(38,10) NOT NULL,
  total_cost numeric(38,10) NOT NULL,
  credits_free numeric(38,10) NOT NULL,
  credits_purchased numeric(38,10) NOT NULL,
  uncovered numeric(38,10) NOT NULL,
  amount_due numeric(38,10) NOT NULL,
  PRIMARY KEY (month, user_id)
);
CREATE TABLE peer.cluster_daily (
  date date NOT NULL,
  cluster_id uuid,
  cluster_name text,
  users bigint NOT NULL,
  cpu_hours numeric(38,10) NOT NULL,
  cpu_hours_cost numeric(38,10) NOT NULL,
  gpu_hours numeric(38,10) NOT NULL,
  gpu_hours_cost numeric(38,10) NOT NULL,
  storage_gb numeric(38,10) NOT NULL,
  storage_gb_cost numeric(38,10) NOT NULL,
  feature_store_api_calls numeric(38,10) NOT NULL,
  feature_store_api_calls_cost numeric(38,10) NOT NULL,
  model_inference_calls numeric(38,10) NOT NULL,
  model_inference_calls_cost numeric(38,10) NOT NULL,
  total_cost numeric(38,10) NOT NULL,
  credits_deducted numeric(38,10) NOT NULL,
  UNIQUE NULLS NOT DISTINCT (date, cluster_id)
);
CREATE TABLE peer.cluster_monthly (
  month date NOT NULL,
  cluster_id uuid,
  cluster_name text,
  active_users bigint NOT NULL,
  max_users bigint NOT NULL,
  cpu_hours numeric(38,10) NOT NULL,
  cpu_hours_cost numeric(38,10) NOT NULL,
  gpu_hours numeric(38,10) NOT NULL,
  gpu_hours_cost numeric(38,10) NOT NULL,
  storage_gb numeric(38,10) NOT NULL,
  storage_gb_cost numeric(38,10) NOT NULL,
  feature_store_api_calls numeric(38,10) NOT NULL,
  feature_store_api_calls_cost numeric(38,10) NOT NULL,
  model_inference_calls numeric(38,10) NOT NULL,
  model_inference_calls_cost numeric(38,10) NOT NULL,
  total_cost numeric(38,10) NOT NULL,
  credits_deducted numeric(38,10) NOT NULL,
  cost_per_user numeric(38,10) NOT NULL,
  UNIQUE NULLS NOT DISTINCT (month, cluster_id)
);
CREATE TABLE peer.credit_draws (
  usage_daily_id uuid,
  user_id text,
  revision integer,
  usage_date date NOT NULL,
  free numeric(38,10) NOT NULL,
  purchased numeric(38,10) NOT NULL,
  posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (usage_daily_id, user_id, revision)
)

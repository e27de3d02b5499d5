-- The job's own tables as the first version that made any left them (0.1.0, before credits), frozen: its DDL, word for word
-- but for quotes, and the rows that its run of 2026-06-20 wrote for the usage below, in a database of shape A. Since then
-- came indexes, triggers, row level security, and NULL for what had not been computed (here it is NOT NULL DEFAULT 0).

INSERT INTO hopsworks_clusters (id, name) VALUES ('00000000-0000-0000-0000-0000000000c1', 'eu');
INSERT INTO users (id, billing_mode) VALUES ('ada', 'prepaid'), ('bob', 'postpaid');
INSERT INTO user_credits (user_id, free_credits_granted, total_purchased) VALUES ('ada', 1, 2);
INSERT INTO usage_daily (id, user_id, date, cpu_hours, gpu_hours, storage_gb, hopsworks_cluster_id)
  SELECT ('00000000-0000-0000-0000-0000000000' || days.n || u.n)::uuid, u.name, day, days.n, 2, 30,
    CASE WHEN days.n > 1 THEN '00000000-0000-0000-0000-0000000000c1'::uuid END
  FROM (VALUES (1, date '2026-05-30'), (2, '2026-06-18'), (3, '2026-06-19')) AS days(n, day)
  CROSS JOIN (VALUES (1, 'ada'), (2, 'bob')) AS u(n, name);
INSERT INTO usage_daily (id, user_id, date, cpu_hours) VALUES ('00000000-0000-0000-0000-000000000091', 'bob', '2026-06-18', -1);

CREATE SCHEMA rollup;

CREATE TABLE rollup.user_monthly (
  month date NOT NULL,
  user_id text NOT NULL,
  currency text NOT NULL,
  days bigint NOT NULL DEFAULT 0,
  cpu_hours numeric(38,10) NOT NULL DEFAULT 0,
  cpu_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  gpu_hours numeric(38,10) NOT NULL DEFAULT 0,
  gpu_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  storage_gb numeric(38,10) NOT NULL DEFAULT 0,
  storage_gb_cost numeric(38,10) NOT NULL DEFAULT 0,
  feature_store_api_calls numeric(38,10) NOT NULL DEFAULT 0,
  feature_store_api_calls_cost numeric(38,10) NOT NULL DEFAULT 0,
  model_inference_calls numeric(38,10) NOT NULL DEFAULT 0,
  model_inference_calls_cost numeric(38,10) NOT NULL DEFAULT 0,
  instance_hours numeric(38,10) NOT NULL DEFAULT 0,
  instance_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  memory_gb_hours numeric(38,10) NOT NULL DEFAULT 0,
  memory_gb_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  adjustment_cost numeric(38,10) NOT NULL DEFAULT 0,
  total_cost numeric(38,10) NOT NULL DEFAULT 0,
  credits_free numeric(38,10) NOT NULL DEFAULT 0,
  credits_purchased numeric(38,10) NOT NULL DEFAULT 0,
  credits_deducted numeric(38,10) NOT NULL DEFAULT 0,
  uncovered numeric(38,10) NOT NULL DEFAULT 0,
  amount_due numeric(38,10) NOT NULL DEFAULT 0,
  amount_reported numeric(38,10) NOT NULL DEFAULT 0,
  revision integer NOT NULL DEFAULT 1,
  usage_hash bigint,
  rates_hash text,
  overrides_hash text,
  credits_hash text,
  run_id bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (month, user_id)
);

CREATE TABLE rollup.cluster_daily (
  date date NOT NULL,
  cluster_id uuid,
  cluster_name text,
  users bigint NOT NULL DEFAULT 0,
  cpu_hours numeric(38,10) NOT NULL DEFAULT 0,
  cpu_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  gpu_hours numeric(38,10) NOT NULL DEFAULT 0,
  gpu_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  storage_gb numeric(38,10) NOT NULL DEFAULT 0,
  storage_gb_cost numeric(38,10) NOT NULL DEFAULT 0,
  feature_store_api_calls numeric(38,10) NOT NULL DEFAULT 0,
  feature_store_api_calls_cost numeric(38,10) NOT NULL DEFAULT 0,
  model_inference_calls numeric(38,10) NOT NULL DEFAULT 0,
  model_inference_calls_cost numeric(38,10) NOT NULL DEFAULT 0,
  instance_hours numeric(38,10) NOT NULL DEFAULT 0,
  instance_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  memory_gb_hours numeric(38,10) NOT NULL DEFAULT 0,
  memory_gb_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  adjustment_cost numeric(38,10) NOT NULL DEFAULT 0,
  total_cost numeric(38,10) NOT NULL DEFAULT 0,
  credits_deducted numeric(38,10) NOT NULL DEFAULT 0,
  run_id bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE NULLS NOT DISTINCT (date, cluster_id)
);

CREATE TABLE rollup.cluster_monthly (
  month date NOT NULL,
  cluster_id uuid,
  cluster_name text,
  users bigint NOT NULL DEFAULT 0,
  active_users bigint NOT NULL DEFAULT 0,
  max_users bigint NOT NULL DEFAULT 0,
  cpu_hours numeric(38,10) NOT NULL DEFAULT 0,
  cpu_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  gpu_hours numeric(38,10) NOT NULL DEFAULT 0,
  gpu_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  storage_gb numeric(38,10) NOT NULL DEFAULT 0,
  storage_gb_cost numeric(38,10) NOT NULL DEFAULT 0,
  feature_store_api_calls numeric(38,10) NOT NULL DEFAULT 0,
  feature_store_api_calls_cost numeric(38,10) NOT NULL DEFAULT 0,
  model_inference_calls numeric(38,10) NOT NULL DEFAULT 0,
  model_inference_calls_cost numeric(38,10) NOT NULL DEFAULT 0,
  instance_hours numeric(38,10) NOT NULL DEFAULT 0,
  instance_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  memory_gb_hours numeric(38,10) NOT NULL DEFAULT 0,
  memory_gb_hours_cost numeric(38,10) NOT NULL DEFAULT 0,
  adjustment_cost numeric(38,10) NOT NULL DEFAULT 0,
  total_cost numeric(38,10) NOT NULL DEFAULT 0,
  credits_deducted numeric(38,10) NOT NULL DEFAULT 0,
  cost_per_user numeric(38,10) NOT NULL DEFAULT 0,
  run_id bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE NULLS NOT DISTINCT (month, cluster_id)
);

CREATE TABLE rollup.credit_draws (
  usage_daily_id uuid NOT NULL,
  user_id text NOT NULL,
  revision integer NOT NULL,
  usage_date date NOT NULL,
  free numeric(38,10) NOT NULL DEFAULT 0,
  purchased numeric(38,10) NOT NULL DEFAULT 0,
  run_id bigint NOT NULL,
  posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (usage_daily_id, user_id, revision)
);

CREATE TABLE rollup.billing_modes (
  user_id text NOT NULL,
  valid_from date NOT NULL,
  mode text,
  run_id bigint NOT NULL,
  PRIMARY KEY (user_id, valid_from)
);

CREATE TABLE rollup.months (
  month date NOT NULL,
  cost_mode text NOT NULL CHECK (cost_mode IN ('recorded', 'rated')),
  closed_at timestamptz,
  closed_by bigint,
  row_count bigint,
  usage_hash bigint,
  rates_hash text,
  total_cost numeric(38,10),
  PRIMARY KEY (month)
);

CREATE TABLE rollup.rejects (
  usage_daily_id uuid NOT NULL,
  reason text NOT NULL,
  row jsonb NOT NULL,
  first_seen timestamptz NOT NULL DEFAULT now(),
  last_seen timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (usage_daily_id)
);

CREATE TABLE rollup.corrections (
  month date NOT NULL,
  user_id text NOT NULL,
  old_total numeric(38,10),
  new_total numeric(38,10),
  cause text NOT NULL,
  reason text,
  run_id bigint NOT NULL,
  PRIMARY KEY (month, user_id, run_id)
);

CREATE TABLE rollup.runs (
  run_id bigint GENERATED ALWAYS AS IDENTITY,
  kind text NOT NULL,
  window_from date NOT NULL,
  window_to date NOT NULL,
  reason text,
  status text NOT NULL CHECK (status IN ('running', 'done', 'failed', 'crashed')),
  started_at timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  rows_read bigint,
  rows_rejected bigint,
  rows_changed bigint,
  total_cost numeric(38,10),
  credits numeric(38,10),
  rates_hash text,
  version text NOT NULL,
  error text,
  PRIMARY KEY (run_id)
);

-- Supabase serves what anon and authenticated may reach over REST: this schema is not for them.
DO $walls$
DECLARE
  somebody text;
BEGIN
  REVOKE ALL ON SCHEMA rollup FROM PUBLIC;
  REVOKE ALL ON ALL TABLES IN SCHEMA rollup FROM PUBLIC;
  FOR somebody IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', 'rollup', somebody);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %I', 'rollup', somebody);
  END LOOP;
END
$walls$;

INSERT INTO rollup.user_monthly (month, user_id, currency, days, cpu_hours, cpu_hours_cost, gpu_hours, gpu_hours_cost, storage_gb, storage_gb_cost, total_cost, revision, usage_hash, rates_hash, run_id, updated_at) VALUES
  ('2026-05-01', 'ada', 'USD', '1', '1', '0.1', '2', '1', '0.9677419355', '0.2903225806', '1.3903225806', '1', '8672007080824794433', 'e774a1107071d009-recorded-day-unpriced', '1', '2026-06-20 01:30:01+00'),
  ('2026-05-01', 'bob', 'USD', '1', '1', '0.1', '2', '1', '0.9677419355', '0.2903225806', '1.3903225806', '1', '2319290149758701477', 'e774a1107071d009-recorded-day-unpriced', '1', '2026-06-20 01:30:01+00'),
  ('2026-06-01', 'ada', 'USD', '2', '5', '0.5', '4', '2', '2', '0.6', '3.1', '1', '6760395268092271608', 'be648709a673ef2b-recorded-day-unpriced', '1', '2026-06-20 01:30:01+00'),
  ('2026-06-01', 'bob', 'USD', '2', '5', '0.5', '4', '2', '2', '0.6', '3.1', '1', '1811184440788388427', 'be648709a673ef2b-recorded-day-unpriced', '1', '2026-06-20 01:30:01+00');

INSERT INTO rollup.cluster_daily (date, cluster_id, cluster_name, users, cpu_hours, cpu_hours_cost, gpu_hours, gpu_hours_cost, storage_gb, storage_gb_cost, total_cost, run_id, updated_at) VALUES
  ('2026-05-30', null, null, '2', '2', '0.2', '4', '2', '60', '0.5806451612', '2.7806451612', '1', '2026-06-20 01:30:02+00'),
  ('2026-06-18', '00000000-0000-0000-0000-0000000000c1', 'eu', '2', '4', '0.4', '4', '2', '60', '0.6', '3', '1', '2026-06-20 01:30:02+00'),
  ('2026-06-19', '00000000-0000-0000-0000-0000000000c1', 'eu', '2', '6', '0.6', '4', '2', '60', '0.6', '3.2', '1', '2026-06-20 01:30:02+00');

INSERT INTO rollup.cluster_monthly (month, cluster_id, cluster_name, users, active_users, max_users, cpu_hours, cpu_hours_cost, gpu_hours, gpu_hours_cost, storage_gb, storage_gb_cost, total_cost, cost_per_user, run_id, updated_at) VALUES
  ('2026-05-01', null, null, '2', '2', '2', '2', '0.2', '4', '2', '1.935483871', '0.5806451612', '2.7806451612', '1.3903225806', '1', '2026-06-20 01:30:02+00'),
  ('2026-06-01', '00000000-0000-0000-0000-0000000000c1', 'eu', '2', '2', '2', '10', '1', '8', '4', '4', '1.2', '6.2', '3.1', '1', '2026-06-20 01:30:02+00');

INSERT INTO rollup.months (month, cost_mode, closed_at, closed_by, row_count, usage_hash, rates_hash, total_cost) VALUES
  ('2026-05-01', 'recorded', '2026-06-20 01:30:02+00', '1', '2', '2946101346358419598', 'e774a1107071d009-recorded-day-unpriced', '2.7806451612'),
  ('2026-06-01', 'recorded', null, null, '4', '4658573670960323625', 'be648709a673ef2b-recorded-day-unpriced', '6.2');

INSERT INTO rollup.rejects (usage_daily_id, reason, row, first_seen, last_seen) VALUES
  ('00000000-0000-0000-0000-000000000091', 'cpu_hours is -1: expected a number from 0 to 100000000', '{"id": "00000000-0000-0000-0000-000000000091", "date": "2026-06-18", "user_id": "bob", "cpu_hours": -1, "gpu_hours": null, "storage_gb": null, "total_cost": null, "hopsworks_cluster_id": null, "model_inference_calls": null, "feature_store_api_calls": null}', '2026-06-20 01:30:02+00', '2026-06-20 01:30:02+00');

INSERT INTO rollup.runs (run_id, kind, window_from, window_to, status, started_at, finished_at, rows_read, rows_rejected, rows_changed, total_cost, rates_hash, version) OVERRIDING SYSTEM VALUE VALUES
  ('1', 'run', '2026-05-01', '2026-06-19', 'done', '2026-06-20 01:30:00+00', '2026-06-20 01:30:02+00', '7', '1', '12', '8.9806451612', 'e774a1107071d009', '0.1.0');

SELECT setval(pg_get_serial_sequence('rollup.runs', 'run_id'), 1);

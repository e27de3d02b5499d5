-- The columns and the key of each of the job's own tables; the manual describes them (jobs/docs/database.md).
-- One column a line: jobs/domain/tables.py reads these lines. {costs} and {level_days} are the columns of meters.

-- name: user_daily
date date NOT NULL,
user_id text NOT NULL,
cluster_id uuid,
{costs},
credits_deducted numeric(38,10) NOT NULL DEFAULT 0,
run_id bigint NOT NULL,
UNIQUE NULLS NOT DISTINCT (date, user_id, cluster_id)

-- name: user_monthly
-- Where a column may be null without a meaning in the manual, the row was written before it was computed: a 0 would mean
-- that nothing is owed.
month date NOT NULL,
user_id text NOT NULL,
currency text NOT NULL,
billing_mode text,
days bigint NOT NULL DEFAULT 0,
clusters uuid[],
{costs},
{level_days},
credits_free numeric(38,10) NOT NULL DEFAULT 0,
credits_purchased numeric(38,10) NOT NULL DEFAULT 0,
credits_deducted numeric(38,10) NOT NULL DEFAULT 0,
uncovered numeric(38,10),
amount_due numeric(38,10),
amount_reported numeric(38,10),
amount_free numeric(38,10),
revision integer NOT NULL DEFAULT 1,
row_count bigint,
usage_hash bigint,
written_hash bigint,
rates_hash text,
overrides_hash text,
credits_hash text,
run_id bigint NOT NULL,
updated_at timestamptz NOT NULL DEFAULT now(),
PRIMARY KEY (month, user_id)

-- name: cluster_daily
date date NOT NULL,
cluster_id uuid,
cluster_name text,
users bigint NOT NULL DEFAULT 0,
{costs},
credits_deducted numeric(38,10) NOT NULL DEFAULT 0,
run_id bigint NOT NULL,
updated_at timestamptz NOT NULL DEFAULT now(),
UNIQUE NULLS NOT DISTINCT (date, cluster_id)

-- name: cluster_monthly
month date NOT NULL,
cluster_id uuid,
cluster_name text,
users bigint NOT NULL DEFAULT 0,
active_users bigint NOT NULL DEFAULT 0,
max_users bigint NOT NULL DEFAULT 0,
{costs},
{level_days},
credits_deducted numeric(38,10) NOT NULL DEFAULT 0,
cost_per_user numeric(38,10) NOT NULL DEFAULT 0,
run_id bigint NOT NULL,
updated_at timestamptz NOT NULL DEFAULT now(),
UNIQUE NULLS NOT DISTINCT (month, cluster_id)

-- name: touched_days
run_id bigint NOT NULL,
batch integer NOT NULL,
date date NOT NULL,
PRIMARY KEY (run_id, batch, date)

-- name: credit_draws
usage_daily_id uuid NOT NULL,
user_id text NOT NULL,
revision integer NOT NULL,
usage_date date NOT NULL,
free numeric(38,10) NOT NULL DEFAULT 0,
purchased numeric(38,10) NOT NULL DEFAULT 0,
imported boolean NOT NULL DEFAULT false,
run_id bigint NOT NULL,
posted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
PRIMARY KEY (usage_daily_id, user_id, revision)

-- name: billing_modes
user_id text NOT NULL,
valid_from date NOT NULL,
mode text,
run_id bigint NOT NULL,
PRIMARY KEY (user_id, valid_from)

-- name: months
month date NOT NULL,
cost_mode text NOT NULL CHECK (cost_mode IN ('recorded', 'rated')),
closed_at timestamptz,
closed_by bigint,
row_count bigint,
usage_hash bigint,
rates_hash text,
total_cost numeric(38,10),
fingerprint text,
currency text,
PRIMARY KEY (month)

-- name: rejects
usage_daily_id uuid NOT NULL,
reason text NOT NULL,
row jsonb NOT NULL,
first_seen timestamptz NOT NULL DEFAULT now(),
last_seen timestamptz NOT NULL DEFAULT now(),
PRIMARY KEY (usage_daily_id)

-- name: debts
-- A row that moved to another month after its own had closed has a debt in both.
usage_daily_id uuid NOT NULL,
user_id text NOT NULL,
usage_date date NOT NULL,
amount numeric(38,10) NOT NULL DEFAULT 0,
settled numeric(38,10) NOT NULL DEFAULT 0,
written_off numeric(38,10) NOT NULL DEFAULT 0,
reason text,
run_id bigint NOT NULL,
PRIMARY KEY (usage_daily_id, user_id, usage_date)

-- name: set_aside
user_id text NOT NULL,
since timestamptz NOT NULL DEFAULT now(),
reason text NOT NULL,
run_id bigint NOT NULL,
PRIMARY KEY (user_id)

-- name: overrides_seen
override_id text NOT NULL,
last_active_day date NOT NULL,
PRIMARY KEY (override_id)

-- name: corrections
-- Null: the row was written before all but the totals were stored.
month date NOT NULL,
user_id text NOT NULL,
old_total numeric(38,10),
new_total numeric(38,10),
old_credits_deducted numeric(38,10),
new_credits_deducted numeric(38,10),
old_uncovered numeric(38,10),
new_uncovered numeric(38,10),
old_amount_due numeric(38,10),
new_amount_due numeric(38,10),
old_amount_reported numeric(38,10),
new_amount_reported numeric(38,10),
cause text NOT NULL,
reason text,
run_id bigint NOT NULL,
PRIMARY KEY (month, user_id, run_id)

-- name: runs
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
plan jsonb,
who text,
covered_to date,
inputs jsonb,
accounts bigint,
overrides bigint,
PRIMARY KEY (run_id)

-- Shape A: the six tables that the job reads, as documented for production (see the demo, and the tests).
-- No foreign keys: usage may refer to users and clusters that do not exist (any more). The job prices such rows and
-- `check` lists them; with foreign keys the sample could not contain any.

do $$
declare
  role_name text;
begin
  foreach role_name in array array['anon', 'authenticated', 'service_role'] loop
    begin
      execute format('create role %I nologin', role_name);
    exception when duplicate_object or unique_violation then
      null;  -- roles belong to the whole server: another database has made it, or is making it just now
    end;
  end loop;
end
$$;

create table users (
  id text primary key,
  email text,
  name text,
  is_admin boolean default false,
  billing_mode text check (billing_mode in ('prepaid', 'postpaid')),
  feature_flags jsonb default '{}',
  hopsworks_username text,
  created_at timestamptz default now(),
  status text default 'active' check (status in ('active', 'suspended', 'deleted'))
);

create table hopsworks_clusters (
  id uuid primary key default gen_random_uuid(),
  name text,
  api_url text,
  api_key text,
  max_users integer,
  current_users integer,
  status text check (status in ('active', 'inactive', 'maintenance', 'full')),
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  metadata jsonb,
  kubeconfig text
);

create table usage_daily (
  id uuid primary key default gen_random_uuid(),
  user_id text,
  date date,
  cpu_hours numeric,
  gpu_hours numeric,
  storage_gb numeric,
  feature_store_api_calls integer,
  model_inference_calls integer,
  created_at timestamptz default now(),
  hopsworks_cluster_id uuid,
  total_cost numeric,
  credits_deducted numeric default 0
);

create index usage_daily_user_id_date on usage_daily (user_id, date);

create table user_credits (
  id uuid primary key default gen_random_uuid(),
  user_id text unique,
  total_purchased numeric default 0,
  total_used numeric default 0,
  free_credits_granted numeric default 0,
  free_credits_used numeric default 0,
  cpu_hours_used numeric default 0,
  gpu_hours_used numeric default 0,
  storage_gb_months numeric default 0,
  updated_at timestamptz default now()
);

create table credit_transactions (
  id uuid primary key default gen_random_uuid(),
  user_id text,
  type text check (type in ('purchase', 'grant', 'usage', 'refund', 'adjustment')),
  amount numeric not null,
  balance_before numeric not null,
  balance_after numeric not null,
  description text,
  created_at timestamptz default now(),
  metadata jsonb
);

create table user_pricing_overrides (
  id uuid primary key default gen_random_uuid(),
  user_id text,
  resource_type text check (resource_type in ('cpu_hours', 'gpu_hours', 'storage_gb', 'api_calls')),
  override_price numeric(10,4),
  original_price numeric(10,4),
  discount_percentage numeric(5,2),
  valid_from timestamptz default now(),
  valid_until timestamptz,
  reason text,
  created_at timestamptz default now(),
  created_by text
);

alter table users enable row level security;
alter table hopsworks_clusters enable row level security;
alter table usage_daily enable row level security;
alter table user_credits enable row level security;
alter table credit_transactions enable row level security;
alter table user_pricing_overrides enable row level security;

create policy service_role_all on users to service_role using (true) with check (true);
create policy service_role_all on hopsworks_clusters to service_role using (true) with check (true);
create policy service_role_all on usage_daily to service_role using (true) with check (true);
create policy service_role_all on user_credits to service_role using (true) with check (true);
create policy service_role_all on credit_transactions to service_role using (true) with check (true);
create policy service_role_all on user_pricing_overrides to service_role using (true) with check (true);

-- The same grants as on Supabase: only row level security protects these tables from the role anon.
grant usage on schema public to anon, authenticated, service_role;
grant all on all tables in schema public to anon, authenticated, service_role;

-- Shape C: a later year's. The five quantities are gone, others of four decimals are there; usage_daily has updated_at
-- but no credits_deducted, and there are neither credit_transactions nor user_pricing_overrides.

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
  billing_mode text check (billing_mode in ('prepaid', 'postpaid', 'free')),
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
  user_id text references users (id),
  date date,
  opencost_cpu_hours numeric(10,4) default 0,
  opencost_gpu_hours numeric(10,4) default 0,
  opencost_ram_gb_hours numeric(10,4) default 0,
  online_storage_gb numeric(10,4) default 0,
  offline_storage_gb numeric(10,4) default 0,
  network_egress_gb numeric(10,4) default 0,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  hopsworks_cluster_id uuid references hopsworks_clusters (id),
  total_cost numeric(10,2) default 0
);

create index usage_daily_user_id_date on usage_daily (user_id, date);
create index usage_daily_cluster_date on usage_daily (hopsworks_cluster_id, date desc);

create table user_credits (
  id uuid primary key default gen_random_uuid(),
  user_id text unique,
  total_purchased numeric(10,2) default 0,
  total_used numeric(10,2) default 0,
  free_credits_granted numeric(10,2) default 0,
  free_credits_used numeric(10,2) default 0,
  balance numeric(10,2) generated always as (total_purchased - total_used) stored,
  cpu_hours_used numeric(10,2) default 0,
  gpu_hours_used numeric(10,2) default 0,
  storage_gb_months numeric(10,2) default 0,
  updated_at timestamptz default now()
);

create function set_updated_at() returns trigger language plpgsql as $$
begin
  new.updated_at = now();
  return new;
end
$$;

create trigger usage_daily_updated_at before update on usage_daily
  for each row execute function set_updated_at();

create trigger user_credits_updated_at before update on user_credits
  for each row execute function set_updated_at();

alter table users enable row level security;
alter table hopsworks_clusters enable row level security;
alter table usage_daily enable row level security;
alter table user_credits enable row level security;

create policy service_role_all on users to service_role using (true) with check (true);
create policy service_role_all on hopsworks_clusters to service_role using (true) with check (true);
create policy service_role_all on usage_daily to service_role using (true) with check (true);
create policy service_role_all on user_credits to service_role using (true) with check (true);

-- As Supabase grants them: row level security is all that stands between anon and these tables.
grant usage on schema public to anon, authenticated, service_role;
grant all on all tables in schema public to anon, authenticated, service_role;

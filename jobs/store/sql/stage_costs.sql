-- The costs to write to usage_daily, each with the version of the row that it was computed from.
CREATE TEMP TABLE usage_jobs_costs (id uuid, version bigint, target numeric) ON COMMIT DROP

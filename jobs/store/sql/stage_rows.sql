-- Rows of usage_daily to write, each with the version that it was computed from; target: its cost, null where that is
-- not ours; drawn: whether its credits differ; shown: what they shall be, null where the ledger has to say.
CREATE TEMP TABLE usage_jobs_rows (id uuid, version xid, target numeric, drawn boolean, shown numeric) ON COMMIT DROP

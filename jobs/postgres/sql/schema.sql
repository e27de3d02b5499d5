-- name: create_schema
-- The schema of the job's own tables.
CREATE SCHEMA IF NOT EXISTS {schema}

-- name: create_table
-- A table, with its columns and its key.
CREATE TABLE IF NOT EXISTS {table} (
  {definitions}
)

-- name: add_columns
-- Adds the columns that a table of an older version lacks.
ALTER TABLE {table}
  {added}

-- name: identify_rows
-- Without a primary key, a publication FOR ALL TABLES would make every UPDATE and DELETE fail.
ALTER TABLE {table} REPLICA IDENTITY FULL

-- name: restore_key
-- Creates a key again that was dropped: without it rows cannot be replaced. Drops a key that treats nulls as distinct.
DO $key$
DECLARE
  lesser text;
BEGIN
  FOR lesser IN
    SELECT o.conname FROM pg_constraint o JOIN pg_index i ON i.indexrelid = o.conindid
    WHERE o.conrelid = {quoted}::regclass AND o.contype = 'u' AND NOT i.indnullsnotdistinct AND {nulls}
      AND ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid
                AND a.attnum = ANY(i.indkey::int2[]) ORDER BY 1) = {key_columns}::text[]
  LOOP
    EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', {quoted}, lesser);
  END LOOP;
  IF NOT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = {quoted}::regclass AND i.indisunique AND i.indisvalid
      AND i.indpred IS NULL AND i.indexprs IS NULL
      AND i.indnullsnotdistinct >= {nulls}
      AND ARRAY(SELECT a.attname::text FROM pg_attribute a
                WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[])
                ORDER BY 1) = {key_columns}::text[]
  ) THEN
    ALTER TABLE {table} ADD {key};
  END IF;
END
$key$

-- name: check_irreplaceable
-- Fails where a table with rows has lost one of these columns: their values cannot be computed again.
DO $check$
DECLARE
  lost text;
BEGIN
  SELECT string_agg(c.name, ', ') INTO lost FROM unnest({irreplaceable}::text[]) AS c(name)
  WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = {quoted}::regclass AND a.attname = c.name
                    AND NOT a.attisdropped);
  IF lost IS NOT NULL AND EXISTS (SELECT FROM {table}) THEN
    RAISE EXCEPTION '% has rows and has lost %: restore it from a backup', {quoted}, lost
      USING ERRCODE = 'restrict_violation';
  END IF;
END
$check$

-- name: not_computed
-- Once, for tables of the first version: columns that it did not compute become null.
DO $null$
BEGIN
  IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = {quoted}::regclass AND attname = 'uncovered' AND attnotnull) THEN
    ALTER TABLE {table} ALTER COLUMN uncovered DROP NOT NULL, ALTER COLUMN uncovered DROP DEFAULT,
      ALTER COLUMN amount_due DROP NOT NULL, ALTER COLUMN amount_due DROP DEFAULT,
      ALTER COLUMN amount_reported DROP NOT NULL, ALTER COLUMN amount_reported DROP DEFAULT;
    UPDATE {table} SET uncovered = NULL, amount_due = NULL, amount_reported = NULL;
  END IF;
END
$null$

-- name: mark_for_recompute
-- Where a roll-up or one of its columns is missing, marks open months as not comparable: the next run recomputes them.
DO $recompute$
BEGIN
  IF EXISTS (
    SELECT FROM unnest({columns}::text[]) AS c(name)
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass({quoted}) AND a.attname = c.name
                      AND NOT a.attisdropped)
  ) AND EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass({quoted_months}) AND a.attname = 'fingerprint'
      AND NOT a.attisdropped
  ) THEN
    UPDATE {job.months} SET fingerprint = NULL WHERE closed_at IS NULL AND fingerprint IS NOT NULL;
  END IF;
END
$recompute$

-- name: mark_imported
-- Adds the column `imported`: true for entries of the first adoption, which have revision 0. The table is append-only,
-- so an UPDATE would be refused; a change of type is not.
DO $imported$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = {quoted}::regclass AND attname = 'imported' AND NOT attisdropped
  ) THEN
    ALTER TABLE {table} ADD COLUMN imported boolean NOT NULL DEFAULT false;
    ALTER TABLE {table} ALTER COLUMN imported TYPE boolean USING revision = 0;
  END IF;
END
$imported$

-- name: indexes
-- Indexes, each for one question. The draws of some users in some months.
CREATE INDEX IF NOT EXISTS credit_draws_user_id_usage_date ON {job.credit_draws} (user_id, usage_date);
-- The draws of all users in some months: rows are stored nearly by day, so a small index of blocks is enough.
CREATE INDEX IF NOT EXISTS credit_draws_usage_date ON {job.credit_draws} USING brin (usage_date) WITH (autosummarize = on);
-- The months with draws of another program: every run asks, and there are almost always none.
CREATE INDEX IF NOT EXISTS credit_draws_adopted ON {job.credit_draws} (usage_date) WHERE revision = 0;
-- The debts of the users of a batch.
CREATE INDEX IF NOT EXISTS debts_user_id ON {job.debts} (user_id)

-- name: refuse_change
-- The trigger function of append-only tables: it refuses the statement.
CREATE OR REPLACE FUNCTION {schema}.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $refuse$
BEGIN
  RAISE EXCEPTION '%.% is append-only: % is refused; a correction is a new row',
    TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$refuse$

-- name: append_only
-- The trigger that makes a table append-only.
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change()

-- name: revoke_access
-- Revokes our tables from PUBLIC, anon and authenticated: Supabase serves over REST what these roles may read. By name,
-- because the schema may have tables of other programs. Row-level security protects against later grants by mistake.
DO $revoke$
DECLARE
  others text;
  ours regclass;
BEGIN
  SELECT string_agg(name, ', ') INTO others
  FROM (SELECT 'PUBLIC' AS name UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')) AS r;
  IF NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = quote_ident({quoted})::regnamespace
                 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> ALL({tables})) THEN
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %s', {quoted}, others);
  END IF;
  EXECUTE format('REVOKE ALL ON FUNCTION %I.refuse_change() FROM %s', {quoted}, others);
  EXECUTE format('REVOKE ALL ON SEQUENCE %s FROM %s', pg_get_serial_sequence({quoted_runs}, 'run_id'), others);
  FOR ours IN SELECT c.oid FROM pg_class c
    WHERE c.relnamespace = quote_ident({quoted})::regnamespace AND c.relkind = 'r' AND c.relname = ANY({tables})
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s', ours, others);
    IF NOT (SELECT relrowsecurity FROM pg_class WHERE oid = ours) THEN
      EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', ours);
    END IF;
  END LOOP;
END
$revoke$

-- name: user_view
-- The view for signed-in users, and the policy by which they read only their own rows. It is created again, because new
-- columns may be in the middle. security_invoker: it reads with the privileges and the row-level security of its reader.
-- It repeats the condition, so that a role that bypasses row-level security also sees only its own rows.
DROP VIEW IF EXISTS {view};

CREATE VIEW {view} WITH (security_invoker = true, security_barrier = true) AS
SELECT {columns} FROM {job.user_monthly} WHERE {own_rows};

COMMENT ON VIEW {view} IS 'usage-jobs: a signed-in user''s own months';

REVOKE ALL ON {view} FROM PUBLIC, anon, authenticated;

GRANT SELECT ON {view} TO authenticated;

GRANT USAGE ON SCHEMA {schema} TO authenticated;

GRANT SELECT ({columns}) ON {job.user_monthly} TO authenticated;

DROP POLICY IF EXISTS own_months ON {job.user_monthly};

CREATE POLICY own_months ON {job.user_monthly} FOR SELECT TO authenticated USING ({own_rows})

-- name: own_rows
-- A condition: the row belongs to the signed-in user. The REST API stores the claims of the verified token in this
-- setting.
user_id = (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')

-- name: free_name
-- Fails where there is another object of this name: it is not replaced.
DO $name$
BEGIN
  IF to_regclass({quoted}) IS NOT NULL
    AND coalesce(obj_description(to_regclass({quoted}), 'pg_class'), '') NOT LIKE 'usage-jobs:%' THEN
    RAISE EXCEPTION '% is there already, and not ours: rename it', {quoted} USING ERRCODE = 'duplicate_table';
  END IF;
END
$name$

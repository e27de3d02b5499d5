"""The optional view that lets a signed-in user read only their own months over the REST API.

Grants and columns are composed: the columns depend on the configured meters, and DDL takes no bound values.
"""

from psycopg import sql

from jobs.postgres.connections import Connection, transaction
from jobs.postgres.schema import tables
from jobs.postgres.sql_loader import app_table, column_list, compose, job_table
from jobs.settings import Settings

NAME = "my_usage_monthly"
# Columns that the view does not show: they only serve the job.
INTERNAL = frozenset({"usage_hash", "rates_hash", "overrides_hash", "credits_hash", "run_id", "revision"})


def exists(connection: Connection, settings: Settings) -> bool:
    """Whether the view exists."""
    # No named query: it asks the catalog for one value.
    text = "SELECT obj_description(to_regclass(%s), 'pg_class') LIKE 'usage-jobs:%%'"
    with transaction(connection):
        row = connection.execute(text, [app_table(settings, NAME).as_string(None)]).fetchone()
    return row is not None and bool(row[0])


def view_script(settings: Settings) -> list[sql.Composed]:
    """Returns the statements that create the view in the exposed schema, its grants, and the policy for a user's own
    rows."""
    of = next(table for table in tables(settings.meters) if table.name == "user_monthly")
    shown = [name for name in of.columns if name not in INTERNAL]
    view, table = app_table(settings, NAME), job_table(settings, "user_monthly")
    parts = {"view": view, "table": table, "own": compose("schema.own_rows"), "columns": column_list(shown)}
    return [
        compose("schema.free_name", quoted=sql.Literal(view.as_string(None))),
        sql.SQL("DROP VIEW IF EXISTS {}").format(view),  # new columns may be in the middle
        compose("schema.user_view", **parts),
        sql.SQL("COMMENT ON VIEW {} IS 'usage-jobs: a signed-in user''s own months'").format(view),
        sql.SQL("REVOKE ALL ON {} FROM PUBLIC, anon, authenticated").format(view),
        sql.SQL("GRANT SELECT ON {} TO authenticated").format(view),
        sql.SQL("GRANT USAGE ON SCHEMA {} TO authenticated").format(sql.Identifier(settings.rollup_schema)),
        sql.SQL("GRANT SELECT ({}) ON {} TO authenticated").format(column_list(shown), table),
        sql.SQL("DROP POLICY IF EXISTS own_months ON {}").format(table),
        compose("schema.own_months", **parts),
    ]

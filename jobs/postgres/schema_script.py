"""Makes and applies the scripts of `usage-jobs schema`: the job's own tables, a role, or the view for users.

The DDL of tables is idempotent and only adds tables and columns: applying it twice, or after a new meter, loses no row.
It is composed in Python, because the columns depend on the configured meters, and DDL takes no bound values.
"""

from collections.abc import Sequence

from psycopg import sql

from jobs.postgres import data_dictionary
from jobs.postgres.connections import Connection, open_link, read_value, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import name_refusals, retry
from jobs.postgres.role_script import role_statements
from jobs.postgres.schema import APPEND_ONLY, IRREPLACEABLE, ROLL_UPS, Table, tables
from jobs.postgres.sql_loader import app_table, column_list, compose, job_table, raw
from jobs.settings import Settings

VIEW = "my_usage_monthly"
"""The optional view that lets a signed-in user read only their own months over the REST API."""
INTERNAL = frozenset(
    {"row_count", "usage_hash", "written_hash", "rates_hash", "overrides_hash", "credits_hash", "run_id", "revision"}
)
"""Columns of user_monthly that the view does not show: they only serve the job."""


def own_schema(settings: Settings) -> str:
    """Returns the DDL of the job's own tables."""
    return _script(_ddl(settings))


def view_for_users(settings: Settings) -> str:
    """Returns the statements of the view for signed-in users."""
    return _script(_view_statements(settings))


def grants(settings: Settings, address: Address, role: str) -> str:
    """Returns the statements that create a role for the job, for the present state of the database. Raises as
    ``role_statements`` does."""
    with open_link(address) as link:
        return _script(retry(lambda: role_statements(link.connection, settings, role)))


def apply_schema(settings: Settings, address: Address, *, role: str | None = None, with_view: bool = False) -> str:
    """Runs the script of own tables, of a role or of the view, in one transaction, and returns it. Raises
    PreflightError where a table refuses a statement."""

    def apply_once() -> str:
        connection = link.connection
        if role is not None:
            statements = role_statements(connection, settings, role)
        elif with_view:
            statements = _view_statements(settings)
        else:
            # revoke_access revokes what the view needs, and a new meter is a new column of it: create it again.
            view = _view_statements(settings) if _has_view(connection, settings) else []
            statements = [*_ddl(settings), *view]
        with transaction(connection):
            # CREATE … IF NOT EXISTS is not safe where two operators run it at once. No named query: it reads no table.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('usage-jobs schema'))")
            for part in statements:
                with name_refusals(_subject(part)):
                    connection.execute(part)
        return _script(statements)

    with open_link(address) as link:
        return retry(apply_once)


def _script(statements: Sequence[sql.Composed]) -> str:
    """Returns statements as a script for psql, in one transaction."""
    return ";\n\n".join(["BEGIN", *(part.as_string(None) for part in statements), "COMMIT"]) + ";\n"


def _subject(part: sql.Composed) -> str:
    """Returns what a statement is about, for error messages: its first line that is not a comment."""
    lines = [line for line in part.as_string(None).splitlines() if line and not line.startswith("--")]
    return next((line for line in lines if '"' in line), lines[0]).strip().replace('"."', ".").replace('"', "")


def _ddl(settings: Settings) -> list[sql.Composed]:
    """Returns the statements that create or complete the job's own schema."""
    schema, of = sql.Identifier(settings.rollup_schema), tables(settings.meters)
    parts: dict[str, sql.Composable] = {
        "schema": schema,
        "credit_draws": job_table(settings, "credit_draws"),
        "debts": job_table(settings, "debts"),
        "quoted": sql.Literal(settings.rollup_schema),
        "tables": sql.Literal([table.name for table in of]),
        "runs": _quoted(job_table(settings, "runs")),
    }
    made = [sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema)]
    for table in of:
        made += _table_statements(settings, table)
        made.append(data_dictionary.comments(settings.rollup_schema, table.name, table.columns, settings.meters))
    for query in ("draws_by_user", "draws_by_day", "draws_adopted", "debts_by_user", "refuse_change"):
        made.append(compose(f"schema.{query}", **parts))
    made += (compose("schema.append_only", schema=schema, table=job_table(settings, name)) for name in APPEND_ONLY)
    return [*made, compose("schema.revoke_access", **parts)]


def _table_statements(settings: Settings, table: Table) -> list[sql.Composed]:
    """Returns the statements that create or complete one table."""
    name, months = job_table(settings, table.name), job_table(settings, "months")
    # The names are not quoted: inside the DO block of restore_key sql.Identifier could not quote them.
    key = raw(f"{'UNIQUE NULLS NOT DISTINCT' if table.null_in_key else 'PRIMARY KEY'} ({', '.join(table.key)})")
    columns = {column: sql.Identifier(column) + raw(f" {kind}") for column, kind in table.columns.items()}
    create = sql.SQL("CREATE TABLE IF NOT EXISTS {} (\n  {}\n)").format(
        name, sql.SQL(",\n  ").join([*columns.values(), key])
    )
    added = [
        raw("  ADD COLUMN IF NOT EXISTS ") + definition
        for column, definition in columns.items()
        if column not in table.key and "IDENTITY" not in table.columns[column]
    ]
    parts: dict[str, sql.Composable] = {
        "table": name,
        "quoted": _quoted(name),
        "months": months,
        "quoted_months": _quoted(months),
        "columns": sql.Literal(list(table.columns)),
        "irreplaceable": sql.Literal(list(IRREPLACEABLE.get(table.name, ()))),
        "key": key,
        "key_columns": sql.Literal(sorted(table.key)),
        "nulls": sql.Literal(table.null_in_key),
    }

    def queries(name: str, *, where: bool) -> list[sql.Composed]:
        return [compose(f"schema.{name}", **parts)] if where else []

    return [
        *queries("mark_for_recompute", where=table.name in ROLL_UPS),
        create,
        *queries("check_irreplaceable", where=table.name in IRREPLACEABLE),
        *queries("mark_imported", where=table.name == "credit_draws"),
        *([sql.SQL("ALTER TABLE {}\n{}").format(name, sql.SQL(",\n").join(added))] if added else []),
        *queries("restore_key", where=True),
        # Without a primary key, a publication FOR ALL TABLES would make every UPDATE and DELETE fail.
        *([sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(name)] if table.null_in_key else []),
        *queries("not_computed", where=table.name == "user_monthly"),
    ]


def _quoted(name: sql.Identifier) -> sql.Literal:
    """Returns the quoted name of a table as an SQL literal."""
    return sql.Literal(name.as_string(None))


def _has_view(connection: Connection, settings: Settings) -> bool:
    text = "SELECT obj_description(to_regclass(%s), 'pg_class') LIKE 'usage-jobs:%%'"
    with transaction(connection):
        return bool(read_value(connection, text, [app_table(settings, VIEW).as_string(None)]))


def _view_statements(settings: Settings) -> list[sql.Composed]:
    """Returns the statements that create the view in the exposed schema, its grants, and the policy for a user's own
    rows."""
    of = next(table for table in tables(settings.meters) if table.name == "user_monthly")
    view, table = app_table(settings, VIEW), job_table(settings, of.name)
    parts: dict[str, sql.Composable] = {
        "view": view,
        "quoted": _quoted(view),
        "table": table,
        "own": compose("schema.own_rows"),
        "columns": column_list([name for name in of.columns if name not in INTERNAL]),
        "schema": sql.Identifier(settings.rollup_schema),
    }
    return [
        compose("schema.free_name", **parts),
        sql.SQL("DROP VIEW IF EXISTS {}").format(view),  # new columns may be in the middle
        compose("schema.user_view", **parts),
        *(
            sql.SQL(text).format(**parts)
            for text in (
                "COMMENT ON VIEW {view} IS 'usage-jobs: a signed-in user''s own months'",
                "REVOKE ALL ON {view} FROM PUBLIC, anon, authenticated",
                "GRANT SELECT ON {view} TO authenticated",
                "GRANT USAGE ON SCHEMA {schema} TO authenticated",
                "GRANT SELECT ({columns}) ON {table} TO authenticated",
                "DROP POLICY IF EXISTS own_months ON {table}",
            )
        ),
        compose("schema.own_months", **parts),
    ]

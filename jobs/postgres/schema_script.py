"""Makes and applies the scripts of `usage-jobs schema`: the job's own tables, a role, or the view for users.

The DDL of tables is idempotent and only adds tables and columns: applying it twice, or after a new meter, loses no row.
It is composed in Python, because the columns depend on the configured meters, and DDL takes no bound values.
"""

from collections.abc import Sequence

from psycopg import sql

from jobs.domain.tables import APPEND_ONLY, IRREPLACEABLE, Table, tables
from jobs.postgres import data_dictionary
from jobs.postgres.connections import Connection, open_link, read_value, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import name_refusals, retry
from jobs.postgres.role_script import role_statements
from jobs.postgres.sql_loader import app_table, column_list, compose, job_table, raw
from jobs.settings import Settings

VIEW = "my_usage_monthly"
"""The optional view that lets a signed-in user read only their own months over the REST API."""
HIDDEN_COLUMNS = frozenset(
    {"row_count", "usage_hash", "written_hash", "rates_hash", "overrides_hash", "credits_hash", "run_id", "revision"}
)
"""Columns of user_monthly that the view does not show: they only serve the job."""


def print_schema(settings: Settings, *, with_view: bool = False) -> str:
    """Returns the DDL of the job's own tables; ``with_view``: the statements of the view for signed-in users."""
    return _script(_view_statements(settings) if with_view else _ddl(settings))


def print_role(settings: Settings, address: Address, role: str) -> str:
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
        else:
            # revoke_access revokes what the view needs, and a new meter is a new column of it: create it again.
            view = _view_statements(settings) if with_view or _has_view(connection, settings) else []
            statements = view if with_view else [*_ddl(settings), *view]
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
    of = tables(settings.meters)
    parts: dict[str, sql.Composable] = {
        "schema": sql.Identifier(settings.rollup_schema),
        "quoted": sql.Literal(settings.rollup_schema),
        "tables": sql.Literal([table.name for table in of]),
        "quoted_runs": _quoted(job_table(settings, "runs")),
    }
    made = [compose("schema.create_schema", **parts)]
    for table in of:
        made += _table_statements(settings, table)
        made.append(data_dictionary.comments(settings.rollup_schema, table.name, table.columns, settings.meters))
    made += [compose("schema.indexes", settings), compose("schema.refuse_change", **parts)]
    made += [compose("schema.append_only", table=job_table(settings, name), **parts) for name in APPEND_ONLY]
    return [*made, compose("schema.revoke_access", **parts)]


def _table_statements(settings: Settings, table: Table) -> list[sql.Composed]:
    """Returns the statements that create or complete one table."""
    place = job_table(settings, table.name)
    columns = {name: sql.Identifier(name) + raw(f" {definition}") for name, definition in table.columns.items()}
    added = [name for name in columns if name not in table.key and "IDENTITY" not in table.columns[name]]
    # The names are not quoted: inside the DO block of restore_key sql.Identifier could not quote them.
    key = raw(f"{'UNIQUE NULLS NOT DISTINCT' if table.null_in_key else 'PRIMARY KEY'} ({', '.join(table.key)})")
    parts: dict[str, sql.Composable] = {
        "table": place,
        "quoted": _quoted(place),
        "quoted_months": _quoted(job_table(settings, "months")),
        "definitions": sql.SQL(",\n  ").join([*columns.values(), key]),
        "added": sql.SQL(",\n  ").join(raw("ADD COLUMN IF NOT EXISTS ") + columns[name] for name in added),
        "columns": sql.Literal(list(columns)),
        "irreplaceable": sql.Literal(list(IRREPLACEABLE.get(table.name, ()))),
        "key": key,
        "key_columns": sql.Literal(sorted(table.key)),
        "nulls": sql.Literal(table.null_in_key),
    }
    steps = {
        "mark_for_recompute": table.is_roll_up,
        "create_table": True,
        "check_irreplaceable": table.name in IRREPLACEABLE,
        "mark_imported": table.name == "credit_draws",
        "add_columns": added,
        "restore_key": True,
        "identify_rows": table.null_in_key,
        "not_computed": table.name == "user_monthly",
    }
    return [compose(f"schema.{step}", settings, **parts) for step, is_needed in steps.items() if is_needed]


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
    view, [of] = app_table(settings, VIEW), [of for of in tables(settings.meters) if of.name == "user_monthly"]
    columns = column_list(name for name in of.columns if name not in HIDDEN_COLUMNS)
    schema = sql.Identifier(settings.rollup_schema)
    return [
        compose("schema.free_name", quoted=_quoted(view)),
        compose("schema.user_view", settings, view=view, columns=columns, schema=schema),
    ]

"""The job's own tables: the definition of their columns, and the DDL made from it.

The DDL is idempotent and only adds tables and columns: applying it twice, or after a new meter, loses no row. It is
composed in Python, because the columns depend on the configured meters; values cannot be bound in DDL.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from jobs.domain.meters import Meter, cost_of, days_of
from jobs.postgres import data_dictionary
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.errors import name_refusals
from jobs.postgres.sql_loader import compose, job_table
from jobs.settings import Settings

AMOUNT = "numeric(38,10) NOT NULL DEFAULT 0"
RUN = "bigint NOT NULL"
APPEND_ONLY = ("credit_draws", "billing_modes", "corrections")
"""Tables in which a trigger refuses UPDATE, DELETE and TRUNCATE: entries are final."""
ROLL_UPS = ("user_daily", "user_monthly", "cluster_daily", "cluster_monthly")
# By table the columns whose values cannot be computed again.
IRREPLACEABLE = {
    "credit_draws": ("usage_daily_id", "user_id", "revision", "usage_date", "free", "purchased"),
    "billing_modes": ("user_id", "valid_from", "mode"),
    "months": ("month", "cost_mode", "closed_at"),
    "debts": ("usage_daily_id", "user_id", "usage_date", "amount", "settled", "written_off"),
}
MOMENT = "timestamptz NOT NULL DEFAULT now()"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: column definitions by name, the key columns, and whether the key may have nulls, which are then
    equal."""

    name: str
    columns: dict[str, str]
    key: tuple[str, ...]
    null_in_key: bool = False

    def kind(self, column: str) -> str:
        """Returns the type of a column, as the DDL writes it."""
        return self.columns[column].split()[0]

    @property
    def computed(self) -> list[str]:
        """The columns that a run computes and compares, without run_id, updated_at and revision."""
        return [name for name in self.columns if name not in _NOT_COMPUTED]


def tables(meters: Sequence[Meter]) -> list[Table]:
    """Returns every table of the job's schema for the configured meters."""
    metered = {name: AMOUNT for meter in meters for name in (meter.name, cost_of(meter.name))}
    costs = metered | {"adjustment_cost": AMOUNT, "total_cost": AMOUNT}
    monthly = costs | {days_of(meter.name): AMOUNT for meter in meters if meter.is_level}
    written = {"run_id": RUN, "updated_at": MOMENT}
    return [
        Table("user_daily", _USER_DAY | costs | {"credits_deducted": AMOUNT, "run_id": RUN}, _USER_DAY_KEY, True),
        Table("user_monthly", _USER | monthly | _CREDITS | _HASHES | written, ("month", "user_id")),
        Table("cluster_daily", _cluster("date", {"users": COUNT}, costs) | written, ("date", "cluster_id"), True),
        Table(
            "cluster_monthly",
            _cluster("month", _MONTHLY_USERS, monthly) | {"cost_per_user": AMOUNT} | written,
            ("month", "cluster_id"),
            True,
        ),
        Table("touched_days", _TOUCHED, ("run_id", "batch", "date")),
        Table("credit_draws", _DRAWS, ("usage_daily_id", "user_id", "revision")),
        Table("billing_modes", _MODES, ("user_id", "valid_from")),
        Table("months", _MONTHS, ("month",)),
        Table("rejects", _REJECTS, ("usage_daily_id",)),
        # A row that moved to another month after its own had closed has a debt in both.
        Table("debts", _DEBTS, ("usage_daily_id", "user_id", "usage_date")),
        Table("set_aside", _SET_ASIDE, ("user_id",)),
        Table("overrides_seen", _OVERRIDES_SEEN, ("override_id",)),
        Table("corrections", _CORRECTIONS, ("month", "user_id", "run_id")),
        Table("runs", _RUNS, ("run_id",)),
    ]


_NOT_COMPUTED = frozenset({"run_id", "updated_at", "revision"})
COUNT = "bigint NOT NULL DEFAULT 0"
_USER_DAY = {"date": "date NOT NULL", "user_id": "text NOT NULL", "cluster_id": "uuid"}
_USER_DAY_KEY = ("date", "user_id", "cluster_id")
_USER = {
    "month": "date NOT NULL",
    "user_id": "text NOT NULL",
    "currency": "text NOT NULL",
    "billing_mode": "text",
    "days": COUNT,
    "clusters": "uuid[]",
}
_CREDITS = dict.fromkeys(("credits_free", "credits_purchased", "credits_deducted"), AMOUNT) | dict.fromkeys(
    # Null: the row was written before these were computed. A 0 would mean that nothing is owed.
    ("uncovered", "amount_due", "amount_reported", "amount_free"),
    "numeric(38,10)",
)
_HASHES = {
    "revision": "integer NOT NULL DEFAULT 1",
    "row_count": "bigint",
    "usage_hash": "bigint",
    "written_hash": "bigint",
    "rates_hash": "text",
    "overrides_hash": "text",
    "credits_hash": "text",
}
_MONTHLY_USERS = {"users": COUNT, "active_users": COUNT, "max_users": COUNT}
_TOUCHED = {"run_id": RUN, "batch": "integer NOT NULL", "date": "date NOT NULL"}
_DRAWS = {
    "usage_daily_id": "uuid NOT NULL",
    "user_id": "text NOT NULL",
    "revision": "integer NOT NULL",
    "usage_date": "date NOT NULL",
    "free": AMOUNT,
    "purchased": AMOUNT,
    "imported": "boolean NOT NULL DEFAULT false",
    "run_id": RUN,
    "posted_at": "timestamptz NOT NULL DEFAULT clock_timestamp()",
}
_MODES = {"user_id": "text NOT NULL", "valid_from": "date NOT NULL", "mode": "text", "run_id": RUN}
_MONTHS = {
    "month": "date NOT NULL",
    "cost_mode": "text NOT NULL CHECK (cost_mode IN ('recorded', 'rated'))",
    "closed_at": "timestamptz",
    "closed_by": "bigint",
    "row_count": "bigint",
    "usage_hash": "bigint",
    "rates_hash": "text",
    "total_cost": "numeric(38,10)",
    "fingerprint": "text",
    "currency": "text",
}
_REJECTS = {
    "usage_daily_id": "uuid NOT NULL",
    "reason": "text NOT NULL",
    "row": "jsonb NOT NULL",
    "first_seen": MOMENT,
    "last_seen": MOMENT,
}
_DEBTS = {
    "usage_daily_id": "uuid NOT NULL",
    "user_id": "text NOT NULL",
    "usage_date": "date NOT NULL",
    "amount": AMOUNT,
    "settled": AMOUNT,
    "written_off": AMOUNT,
    "reason": "text",
    "run_id": RUN,
}
_SET_ASIDE = {"user_id": "text NOT NULL", "since": MOMENT, "reason": "text NOT NULL", "run_id": RUN}
_OVERRIDES_SEEN = {"override_id": "text NOT NULL", "last_active_day": "date NOT NULL"}
_CORRECTIONS = {
    "month": "date NOT NULL",
    "user_id": "text NOT NULL",
    "old_total": "numeric(38,10)",
    "new_total": "numeric(38,10)",
    # Null: the row was written before these were stored.
    **{
        f"{when}_{name}": "numeric(38,10)"
        for name in ("credits_deducted", "uncovered", "amount_due", "amount_reported")
        for when in ("old", "new")
    },
    "cause": "text NOT NULL",
    "reason": "text",
    "run_id": RUN,
}
_RUNS = {
    "run_id": "bigint GENERATED ALWAYS AS IDENTITY",
    "kind": "text NOT NULL",
    "window_from": "date NOT NULL",
    "window_to": "date NOT NULL",
    "reason": "text",
    "status": "text NOT NULL CHECK (status IN ('running', 'done', 'failed', 'crashed'))",
    "started_at": MOMENT,
    "finished_at": "timestamptz",
    "rows_read": "bigint",
    "rows_rejected": "bigint",
    "rows_changed": "bigint",
    "total_cost": "numeric(38,10)",
    "credits": "numeric(38,10)",
    "rates_hash": "text",
    "version": "text NOT NULL",
    "error": "text",
    "plan": "jsonb",
    "who": "text",
    "covered_to": "date",
    "inputs": "jsonb",
    "accounts": "bigint",
    "overrides": "bigint",
}


def _cluster(day: str, users: dict[str, str], costs: dict[str, str]) -> dict[str, str]:
    names = {day: "date NOT NULL", "cluster_id": "uuid", "cluster_name": "text"}
    return names | users | costs | {"credits_deducted": AMOUNT}


def ddl(settings: Settings) -> list[sql.Composed]:
    """Returns the statements that create or complete the schema."""
    schema = sql.Identifier(settings.rollup_schema)
    made = [sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema)]
    for table in tables(settings.meters):
        made += _table_statements(job_table(settings, table.name), table, job_table(settings, "months"))
        made.append(data_dictionary.comments(settings.rollup_schema, table.name, table.columns, settings.meters))
    draws = job_table(settings, "credit_draws")
    made += [
        compose("schema.draws_by_user", draws=draws),
        compose("schema.draws_by_day", draws=draws),
        compose("schema.draws_adopted", draws=draws),
        compose("schema.debts_by_user", debts=job_table(settings, "debts")),
        compose("schema.refuse_change", schema=schema),
        *(compose("schema.append_only", schema=schema, table=job_table(settings, name)) for name in APPEND_ONLY),
    ]
    names = sql.Literal([table.name for table in tables(settings.meters)])
    quoted = sql.Literal(settings.rollup_schema)
    runs = sql.Literal(job_table(settings, "runs").as_string(None))
    return [*made, compose("schema.revoke_access", quoted=quoted, tables=names, runs=runs)]


def _table_statements(name: sql.Identifier, table: Table, months: sql.Identifier) -> list[sql.Composed]:
    """Returns the statements that create or complete one table."""
    definitions = [sql.SQL("  {} ").format(sql.Identifier(c)) + _raw(kind) for c, kind in table.columns.items()]
    # The names are not quoted: inside the DO block of restore_key sql.Identifier could not quote them.
    key = _raw(f"{'UNIQUE NULLS NOT DISTINCT' if table.null_in_key else 'PRIMARY KEY'} ({', '.join(table.key)})")
    create = sql.SQL("CREATE TABLE IF NOT EXISTS {} (\n{}\n)").format(
        name, sql.SQL(",\n").join([*definitions, _raw("  ") + key])
    )
    added = [
        sql.SQL("  ADD COLUMN IF NOT EXISTS {} ").format(sql.Identifier(c)) + _raw(kind)
        for c, kind in table.columns.items()
        if c not in table.key and "IDENTITY" not in kind
    ]
    restored = compose(
        "schema.restore_key",
        table=name,
        key=key,
        quoted=sql.Literal(name.as_string(None)),
        columns=sql.Literal(sorted(table.key)),
        nulls=sql.Literal(table.null_in_key),
    )
    alter = [sql.SQL("ALTER TABLE {}\n{}").format(name, sql.SQL(",\n").join(added))] if added else []
    # Without a primary key, a publication FOR ALL TABLES would make every UPDATE and DELETE fail.
    identity = [sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(name)] if table.null_in_key else []
    return [
        *_mark_for_recompute(name, months, table),
        create,
        *_check_irreplaceable(name, table),
        *_mark_imported(name, table),
        *alter,
        restored,
        *identity,
        *_make_nullable(name, table),
    ]


def _mark_for_recompute(name: sql.Identifier, months: sql.Identifier, table: Table) -> list[sql.Composed]:
    """Where a roll-up or one of its columns is missing, the next run recomputes the open months to fill it."""
    if table.name not in ROLL_UPS:
        return []
    return [
        compose(
            "schema.mark_for_recompute",
            months=months,
            quoted=sql.Literal(name.as_string(None)),
            quoted_months=sql.Literal(months.as_string(None)),
            columns=sql.Literal(list(table.columns)),
        )
    ]


def _check_irreplaceable(name: sql.Identifier, table: Table) -> list[sql.Composed]:
    """Refuses to add lost columns of a table with rows: credits would be drawn again, or closed months would open."""
    if table.name not in IRREPLACEABLE:
        return []
    columns = sql.Literal(list(IRREPLACEABLE[table.name]))
    return [
        compose("schema.check_irreplaceable", table=name, quoted=sql.Literal(name.as_string(None)), columns=columns)
    ]


def _mark_imported(name: sql.Identifier, table: Table) -> list[sql.Composed]:
    """Adds the column `imported`: before there was one, revision 0 marked entries of another program."""
    if table.name != "credit_draws":
        return []
    return [compose("schema.mark_imported", table=name, quoted=sql.Literal(name.as_string(None)))]


def _make_nullable(name: sql.Identifier, table: Table) -> list[sql.Composed]:
    """Replaces NOT NULL DEFAULT 0 of the first version, which did not compute these columns: null means not
    computed."""
    if table.name != "user_monthly":
        return []
    parts = {column: sql.Identifier(column) for column in ("uncovered", "amount_due", "amount_reported")}
    return [compose("schema.not_computed", table=name, quoted=sql.Literal(name.as_string(None)), **parts)]


def _raw(text: str) -> sql.Composed:
    return sql.Composed([sql.SQL(text)])


def script(statements: Sequence[sql.Composed]) -> str:
    """Returns statements as a script for psql, in one transaction."""
    return ";\n\n".join(["BEGIN", *(part.as_string(None) for part in statements), "COMMIT"]) + ";\n"


def apply(connection: Connection, statements: Sequence[sql.Composed]) -> None:
    """Runs statements in one transaction."""
    with transaction(connection):
        # CREATE … IF NOT EXISTS is not safe where two operators run it at once. No named query: it reads no table.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('usage-jobs schema'))")
        for part in statements:
            with name_refusals(_subject(part)):
                connection.execute(part)


def _subject(part: sql.Composed) -> str:
    """Returns what a statement is about, for error messages: its first line that is not a comment."""
    lines = [line for line in part.as_string(None).splitlines() if line and not line.startswith("--")]
    return next((line for line in lines if '"' in line), lines[0]).strip().replace('"."', ".").replace('"', "")

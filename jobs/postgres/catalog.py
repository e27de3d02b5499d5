"""What the database holds: the tables in question as its catalog describes them, read in one go."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from jobs.postgres.connections import Connection
from jobs.postgres.sql_loader import app_table, compose, job_table
from jobs.settings import Settings

SOURCES = (
    "usage_daily",
    "hopsworks_clusters",
    "users",
    "user_pricing_overrides",
    "user_credits",
    "credit_transactions",
)
"""Tables of the application that the job reads; the first is the only one that it cannot do without."""
ENUM = "an enum"
_MONTHS = {"month": "date", "closed_at": "timestamp with time zone"}
_DRAWS = {"user_id": "text", "free": "numeric", "purchased": "numeric"}
FACTS: dict[str, dict[str, dict[str, str]]] = {
    "rated": {"months": _MONTHS | {"cost_mode": "text"}},
    "drawn": {"credit_draws": {}},
    "overridden": {"months": _MONTHS, "user_monthly": {"month": "date", "overrides_hash": "text"}},
    "reported": {"months": _MONTHS, "user_monthly": {"month": "date", "amount_reported": "numeric"}},
    "drawn_free": {"credit_draws": _DRAWS},
    "used_less": {"credit_draws": _DRAWS | {"imported": "boolean"}, "user_monthly": {"credits_hash": "text"}},
    "ledger_lost": {"credit_draws": {}, "user_monthly": {"credits_deducted": "numeric"}},
    "months_lost": {"months": _MONTHS | {"closed_by": "bigint"}, "user_monthly": {}},
}
"""Yes-or-no questions about our own tables (sql/facts.sql), and the columns by which they are answered."""
_ACCOUNTS = {"user_id": "text", "total_used": "numeric"}


Key = tuple[str, frozenset[str], bool]
"""A unique index: its table, its columns, whether nulls are equal in it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as PostgreSQL writes it (any enum: ENUM), its declared scale (None: none), what this role may
    do: SELECT, UPDATE, INSERT; DELETE of its table; whether it is generated, and whether an INSERT must name it.
    ``place``, ``quoted``: its table and itself as SQL; ``filled_by``: its default as SQL; ``of_view``: of no table;
    ``enum``: its enum as SQL, with these ``labels``."""

    name: str
    type: str
    scale: int | None
    rights: frozenset[str]
    generated: bool = False
    demanded: bool = False
    place: str = ""
    quoted: str = ""
    filled_by: str | None = None
    of_view: bool = False
    enum: str | None = None
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RowSecurity:
    """Row-level security of a table: is it on, is it in force for this role, and then: ``passed``, the actions that a
    policy lets it take; ``open``, those on all rows as far as the policies say."""

    on: bool
    in_force: bool
    passed: frozenset[str]
    open: frozenset[str]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Columns by table and name, row-level security by table, and unique keys: table, columns, are nulls equal.

    ``source_views``: which of the application's tables are views; ``facts``: what our own tables say (FACTS).
    """

    server: Mapping[str, Any]
    source: Mapping[str, Mapping[str, Column]]
    own: Mapping[str, Mapping[str, Column]]
    source_walls: Mapping[str, RowSecurity]
    own_walls: Mapping[str, RowSecurity]
    keys: frozenset[Key]
    source_keys: frozenset[Key]
    source_views: frozenset[str]
    append_only: frozenset[str]
    facts: frozenset[str]


def read_catalog(connection: Connection, settings: Settings, own_tables: Iterable[str]) -> Catalog:
    """The catalog's view of the application's tables and of our own."""
    theirs, ours = (settings.source_schema, list(SOURCES)), (settings.rollup_schema, list(own_tables))
    names = {"own": settings.rollup_schema, "source": settings.source_schema}
    with connection.cursor(row_factory=dict_row) as cursor:
        server = cursor.execute(compose("catalog.server"), names).fetchone() or {}
        guarded = cursor.execute(compose("catalog.guarded"), {"schema": settings.rollup_schema}).fetchall()
    own, sources = _columns(connection, *ours), _columns(connection, *theirs)
    return Catalog(
        server,
        sources,
        own,
        _walls(connection, *theirs),
        _walls(connection, *ours),
        _keys(connection, settings.rollup_schema),
        _keys(connection, settings.source_schema),
        frozenset(server.get("views", ())),
        frozenset(row["table_name"] for row in guarded),
        frozenset(_facts(connection, settings, own, sources) if server["may_use_schema"] else ()),
    )


def _columns(connection: Connection, schema: str, tables: list[str]) -> dict[str, dict[str, Column]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(compose("catalog.columns"), {"schema": schema, "tables": tables, "enum": ENUM}).fetchall()
    found: dict[str, dict[str, Column]] = {}
    for row in rows:
        table, rights, labels = row.pop("table_name"), frozenset(row.pop("rights")), frozenset(row.pop("labels"))
        found.setdefault(table, {})[row["name"]] = Column(**row, rights=rights, labels=labels)
    return found


def _keys(connection: Connection, schema: str) -> frozenset[Key]:
    rows = connection.execute(compose("catalog.keys"), {"schema": schema}).fetchall()
    return frozenset((table, frozenset(columns), nulls_equal) for table, nulls_equal, columns in rows)


def _walls(connection: Connection, schema: str, tables: list[str]) -> dict[str, RowSecurity]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(compose("catalog.row_security"), {"schema": schema, "tables": tables}).fetchall()
    return {
        row["table_name"]: RowSecurity(row["is_on"], row["in_force"], frozenset(row["passed"]), frozenset(row["open"]))
        for row in rows
    }


def _facts(
    connection: Connection,
    settings: Settings,
    own: Mapping[str, Mapping[str, Column]],
    sources: Mapping[str, Mapping[str, Column]],
) -> Iterator[str]:
    names = {name: job_table(settings, name) for name in ("months", "credit_draws", "user_monthly")}
    names["accounts"] = app_table(settings, "user_credits")
    accounts = sources.get("user_credits", {})
    # Asked only where free credits used are not counted apart: elsewhere it would read the whole ledger for nothing.
    apart = "free_credits_used" in accounts or not _answers(accounts, _ACCOUNTS)
    for fact, tables in FACTS.items():
        if fact == "used_less" and apart:
            continue
        if all(_answers(own.get(table, {}), wanted) for table, wanted in tables.items()):
            row = connection.execute(compose(f"facts.{fact}", **names)).fetchone()
            if row is not None and row[0]:
                yield fact


def _answers(columns: Mapping[str, Column], wanted: Mapping[str, str]) -> bool:
    """Whether the columns are there, of their types, and may be read."""
    readable = [column for column in columns.values() if "SELECT" in column.rights]
    return bool(readable) and {(c.name, c.type) for c in readable} >= set(wanted.items())

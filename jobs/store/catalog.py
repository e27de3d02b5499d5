"""What the database holds: the tables in question as its catalog describes them, read in one go."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.statements import own, statement

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


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as PostgreSQL writes it (any enum: ENUM), its declared scale (None: none), and what this role
    may do: SELECT, UPDATE, INSERT; DELETE of its table."""

    name: str
    type: str
    scale: int | None
    rights: frozenset[str]


@dataclass(frozen=True, slots=True)
class Walls:
    """Row-level security of a table: is it on, is it in force for this role, and then: ``passed``, the actions that a
    policy lets it take; ``open``, those on all rows as far as the policies say."""

    on: bool
    in_force: bool
    passed: frozenset[str]
    open: frozenset[str]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Columns by table and name, row-level security by table, and the unique keys of our own tables.

    ``rated``: whether an open month is rated, whatever the settings say; ``drawn``: whether the ledger holds draws.
    """

    server: Mapping[str, Any]
    source: Mapping[str, Mapping[str, Column]]
    own: Mapping[str, Mapping[str, Column]]
    source_walls: Mapping[str, Walls]
    own_walls: Mapping[str, Walls]
    keys: frozenset[tuple[str, frozenset[str]]]
    rated: bool
    drawn: bool


def read(connection: Connection, settings: Settings, own_tables: Iterable[str]) -> Catalog:
    """The catalog's view of the application's tables and of our own."""
    theirs, ours = (settings.source_schema, list(SOURCES)), (settings.rollup_schema, list(own_tables))
    names = {"own": settings.rollup_schema, "source": settings.source_schema}
    with connection.cursor(row_factory=dict_row) as cursor:
        server = cursor.execute(statement("server"), names).fetchone() or {}
        keys = cursor.execute(statement("keys"), {"schema": settings.rollup_schema}).fetchall()
    held = _columns(connection, *ours)
    asked = held if server["may_use_schema"] else {}
    return Catalog(
        server,
        _columns(connection, *theirs),
        held,
        _walls(connection, *theirs),
        _walls(connection, *ours),
        frozenset((row["table_name"], frozenset(row["columns"])) for row in keys),
        _exists(connection, settings, asked, "months", ("cost_mode", "closed_at"), "rated_months"),
        _exists(connection, settings, asked, "credit_draws", (), "any_draws"),
    )


def _columns(connection: Connection, schema: str, tables: list[str]) -> dict[str, dict[str, Column]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement("columns"), {"schema": schema, "tables": tables, "enum": ENUM}).fetchall()
    found: dict[str, dict[str, Column]] = {}
    for row in rows:
        column = Column(row["name"], row["type"], row["scale"], frozenset(row["rights"]))
        found.setdefault(row["table_name"], {})[row["name"]] = column
    return found


def _walls(connection: Connection, schema: str, tables: list[str]) -> dict[str, Walls]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement("row_security"), {"schema": schema, "tables": tables}).fetchall()
    return {
        row["table_name"]: Walls(row["is_on"], row["in_force"], frozenset(row["passed"]), frozenset(row["open"]))
        for row in rows
    }


def _exists(
    connection: Connection,
    settings: Settings,
    held: Mapping[str, Mapping[str, Column]],
    table: str,
    columns: tuple[str, ...],
    name: str,
) -> bool:
    """The answer of a yes-or-no statement about a table of ours; no where it cannot be asked."""
    known = held.get(table, {})
    readable = known and all("SELECT" in known[c].rights for c in known) and all(c in known for c in columns)
    if not readable:
        return False
    row = connection.execute(statement(name, table=own(settings, table))).fetchone()
    return row is not None and bool(row[0])

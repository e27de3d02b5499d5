"""What the database holds: the columns of the tables in question, read from its catalog in one go."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg.rows import dict_row

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.statements import statement

SOURCES = (
    "usage_daily",
    "hopsworks_clusters",
    "users",
    "user_pricing_overrides",
    "user_credits",
    "credit_transactions",
)
"""Tables of the application that the job reads; the first is the only one that it cannot do without."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as PostgreSQL writes it, its declared scale (None: none), and this role's rights.

    ``may_replace``: INSERT and DELETE on its table."""

    name: str
    type: str
    scale: int | None
    may_read: bool
    may_update: bool
    may_insert: bool
    may_replace: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """Columns by table and name; tables under row-level security, with whether a policy lets us read."""

    server: Mapping[str, Any]
    source: Mapping[str, Mapping[str, Column]]
    own: Mapping[str, Mapping[str, Column]]
    row_security: Mapping[str, bool] = field(default_factory=dict)


def read(connection: Connection, settings: Settings, own_tables: Iterable[str]) -> Catalog:
    """The catalog's view of the application's tables and of our own."""
    with connection.cursor(row_factory=dict_row) as cursor:
        server = cursor.execute(statement("server"), {"own": settings.rollup_schema}).fetchone() or {}
        hidden = cursor.execute(
            statement("row_security"), {"schema": settings.source_schema, "tables": list(SOURCES)}
        ).fetchall()
    return Catalog(
        server,
        _columns(connection, settings.source_schema, SOURCES),
        _columns(connection, settings.rollup_schema, own_tables),
        {row["table_name"]: row["has_policy"] for row in hidden},
    )


def _columns(connection: Connection, schema: str, tables: Iterable[str]) -> dict[str, dict[str, Column]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement("columns"), {"schema": schema, "tables": list(tables)}).fetchall()
    found: dict[str, dict[str, Column]] = {}
    for row in rows:
        table = found.setdefault(row.pop("table_name"), {})
        table[row["name"]] = Column(**row)
    return found

"""Reads the PostgreSQL catalog: columns, keys, privileges and row-level security of the tables that the job uses."""

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
"""Tables of the application that the job reads; only the first is required."""
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
"""Questions about the data in our own tables (sql/facts.sql), with the tables and columns that each query needs."""
_ACCOUNTS = {"user_id": "text", "total_used": "numeric"}


Key = tuple[str, frozenset[str], bool]
"""A unique index: table, columns, whether it treats nulls as equal."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or view.

    - ``type``: as PostgreSQL writes it (any enum: ENUM)
    - ``scale``: declared decimals; None: none declared
    - ``rights``: what this role may do: SELECT, UPDATE, INSERT on the column, DELETE on its table
    - ``is_generated``: a generated column; ``is_required``: an INSERT must name it
    - ``place``, ``quoted``: table and column, quoted for SQL
    - ``default_sql``: its default as SQL
    - ``is_of_view``: belongs to a view
    - ``enum``, ``labels``: the name of its enum, quoted for SQL, and the labels
    """

    name: str
    type: str
    scale: int | None
    rights: frozenset[str]
    is_generated: bool = False
    is_required: bool = False
    place: str = ""
    quoted: str = ""
    default_sql: str | None = None
    is_of_view: bool = False
    enum: str | None = None
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RowSecurity:
    """Row-level security of a table: whether it is on, and whether it applies to this role (``in_force``).

    - ``allowed``: actions that some policy allows this role
    - ``unrestricted``: actions that the policies allow on all rows
    """

    is_on: bool
    in_force: bool
    allowed: frozenset[str]
    unrestricted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the catalog says; ``source``: tables of the application, ``own``: tables of the job.

    - ``source``, ``own``: columns by table and name
    - ``source_row_security``, ``own_row_security``: row-level security by table
    - ``keys``, ``source_keys``: unique indexes of the job's schema and of the application's
    - ``source_views``: tables of the application that are views
    - ``append_only``: own tables that refuse UPDATE, DELETE and TRUNCATE
    - ``facts``: the questions of FACTS whose answer is yes
    """

    server: Mapping[str, Any]
    source: Mapping[str, Mapping[str, Column]]
    own: Mapping[str, Mapping[str, Column]]
    source_row_security: Mapping[str, RowSecurity]
    own_row_security: Mapping[str, RowSecurity]
    keys: frozenset[Key]
    source_keys: frozenset[Key]
    source_views: frozenset[str]
    append_only: frozenset[str]
    facts: frozenset[str]


def read_catalog(connection: Connection, settings: Settings, own_tables: Iterable[str]) -> Catalog:
    """Reads the catalog for the application's tables and our own."""
    theirs, ours = (settings.source_schema, list(SOURCES)), (settings.rollup_schema, list(own_tables))
    names = {"own": settings.rollup_schema, "source": settings.source_schema}
    with connection.cursor(row_factory=dict_row) as cursor:
        server = cursor.execute(compose("catalog.server"), names).fetchone() or {}
        append_only = cursor.execute(
            compose("catalog.append_only_tables"), {"schema": settings.rollup_schema}
        ).fetchall()
    own, sources = _read_columns(connection, *ours), _read_columns(connection, *theirs)
    return Catalog(
        server,
        sources,
        own,
        _read_row_security(connection, *theirs),
        _read_row_security(connection, *ours),
        _read_keys(connection, settings.rollup_schema),
        _read_keys(connection, settings.source_schema),
        frozenset(server.get("views", ())),
        frozenset(row["table_name"] for row in append_only),
        frozenset(_read_facts(connection, settings, own, sources) if server["may_use_schema"] else ()),
    )


def _read_columns(connection: Connection, schema: str, tables: list[str]) -> dict[str, dict[str, Column]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(compose("catalog.columns"), {"schema": schema, "tables": tables, "enum": ENUM}).fetchall()
    found: dict[str, dict[str, Column]] = {}
    for row in rows:
        table, rights, labels = row.pop("table_name"), frozenset(row.pop("rights")), frozenset(row.pop("labels"))
        found.setdefault(table, {})[row["name"]] = Column(**row, rights=rights, labels=labels)
    return found


def _read_keys(connection: Connection, schema: str) -> frozenset[Key]:
    rows = connection.execute(compose("catalog.keys"), {"schema": schema}).fetchall()
    return frozenset((table, frozenset(columns), nulls_equal) for table, nulls_equal, columns in rows)


def _read_row_security(connection: Connection, schema: str, tables: list[str]) -> dict[str, RowSecurity]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(compose("catalog.row_security"), {"schema": schema, "tables": tables}).fetchall()
    return {
        row["table_name"]: RowSecurity(
            row["is_on"], row["in_force"], frozenset(row["allowed"]), frozenset(row["unrestricted"])
        )
        for row in rows
    }


def _read_facts(
    connection: Connection,
    settings: Settings,
    own: Mapping[str, Mapping[str, Column]],
    sources: Mapping[str, Mapping[str, Column]],
) -> Iterator[str]:
    names = {name: job_table(settings, name) for name in ("months", "credit_draws", "user_monthly")}
    names["accounts"] = app_table(settings, "user_credits")
    accounts = sources.get("user_credits", {})
    # "used_less" reads the whole ledger: it is asked only where free credits used are not counted apart.
    is_apart = "free_credits_used" in accounts or not _has_columns(accounts, _ACCOUNTS)
    for fact, tables in FACTS.items():
        if fact == "used_less" and is_apart:
            continue
        if all(_has_columns(own.get(table, {}), wanted) for table, wanted in tables.items()):
            row = connection.execute(compose(f"facts.{fact}", **names)).fetchone()
            if row is not None and row[0]:
                yield fact


def _has_columns(columns: Mapping[str, Column], wanted: Mapping[str, str]) -> bool:
    """Whether ``columns`` has the ``wanted`` ones, with their types, and this role may read them."""
    readable = [column for column in columns.values() if "SELECT" in column.rights]
    return bool(readable) and {(c.name, c.type) for c in readable} >= set(wanted.items())

"""Reads the PostgreSQL catalog: columns, keys, privileges and row-level security of the tables that the job uses."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobs.domain.tables import tables
from jobs.postgres.connections import Connection, read_dicts, read_value
from jobs.postgres.sql_loader import compose, read_queries
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
INTEGERS = ("smallint", "integer", "bigint")
BINARIES = ("double precision", "real")
NUMBERS = ("numeric", *INTEGERS)
ENUM = "an enum"
"""The type of a column that has any enum."""
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

    @property
    def decimals(self) -> int | None:
        """The decimals that a number can have; None: no limit."""
        return 0 if self.type in INTEGERS else self.scale

    def is_of(self, kind: str) -> bool:
        """Whether it has the type and the scale of ``kind``, as the DDL of our tables writes it."""
        name, _, digits = kind.partition("(")
        scale = int(digits.rstrip(")").split(",")[1]) if digits else None
        return self.type == name.replace("timestamptz", "timestamp with time zone") and self.scale == scale


@dataclass(frozen=True, slots=True)
class RowSecurity:
    """Row-level security of a table: whether it is on, whether it applies to this role (``in_force``), the actions that
    some policy allows this role, and those that the policies allow on all rows (``unrestricted``)."""

    is_on: bool
    in_force: bool
    allowed: Collection[str]
    unrestricted: Collection[str]


@dataclass(frozen=True, slots=True)
class Catalog:
    """What the catalog says of the tables of the application and of the job.

    - ``server``: the server, the database and this role (query catalog.server)
    - ``source``, ``own``: columns by table and name, of the application and of the job
    - ``row_security``: row-level security by table
    - ``keys``: the unique indexes of these tables
    - ``facts``: what is true of the rows of our own tables (sql/facts.sql)
    """

    server: Mapping[str, Any]
    source: Mapping[str, Mapping[str, Column]]
    own: Mapping[str, Mapping[str, Column]]
    row_security: Mapping[str, RowSecurity]
    keys: frozenset[Key]
    facts: frozenset[str]


def read_catalog(connection: Connection, settings: Settings) -> Catalog:
    """Reads the catalog for the application's tables and our own. Needs an open transaction."""
    own_names = [table.name for table in tables(settings.meters)]
    schemas = {"source": settings.source_schema, "own": settings.rollup_schema}
    names = {**schemas, "source_tables": list(SOURCES), "own_tables": own_names}
    [server] = read_dicts(connection, "catalog.server", **schemas)
    source: dict[str, dict[str, Column]] = {}
    own: dict[str, dict[str, Column]] = {}
    for row in read_dicts(connection, "catalog.columns", enum=ENUM, **names):
        table, rights, labels = row.pop("table_name"), frozenset(row.pop("rights")), frozenset(row.pop("labels"))
        columns = (own if table in own_names else source).setdefault(table, {})
        columns[row["name"]] = Column(**row, rights=rights, labels=labels)
    rows = read_dicts(connection, "catalog.row_security", **names)
    row_security = {row.pop("table_name"): RowSecurity(**row) for row in rows}
    keys = frozenset(
        (row["table_name"], frozenset(row["columns"]), row["nulls_equal"])
        for row in read_dicts(connection, "catalog.keys", **names)
    )
    catalog = Catalog(server, source, own, row_security, keys, frozenset())
    return replace(catalog, facts=_read_facts(connection, settings, catalog))


def find_readable_columns(connection: Connection, settings: Settings, table: str) -> frozenset[str]:
    """Returns the columns of a table of the application that this role may read; none where there is no such table."""
    values = {"schema": settings.source_schema, "table": table}
    return frozenset(name for (name,) in connection.execute(compose("catalog.readable_columns"), values))


def _read_facts(connection: Connection, settings: Settings, catalog: Catalog) -> frozenset[str]:
    """Returns the facts of sql/facts.sql that are true. A query is left out where a table that it names is not as the
    schema makes it: then nothing is read of this database."""
    whole = {
        table.name
        for table in tables(settings.meters)
        if all(
            (column := catalog.own.get(table.name, {}).get(name))
            and column.is_of(table.kind(name))
            and "SELECT" in column.rights
            for name in table.columns
        )
    }
    # used_less reads the whole ledger: it is asked only where free credits used are not counted apart.
    accounts = catalog.source.get("user_credits", {})
    readable = {(column.name, column.type) for column in accounts.values() if "SELECT" in column.rights}
    has_one_counter = (
        readable >= {("user_id", "text"), ("total_used", "numeric")} and "free_credits_used" not in accounts
    )
    return frozenset(
        fact
        for fact, text in read_queries("facts").items()
        if catalog.server["may_use_schema"]
        and whole.issuperset(re.findall(r"{job\.(\w+)}", text))
        and (fact != "used_less" or has_one_counter)
        and read_value(connection, compose(f"facts.{fact}", settings))
    )

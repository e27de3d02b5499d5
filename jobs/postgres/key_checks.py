"""Keys and references of the application's tables.

A row that is there twice would be priced, or joined to usage, twice. An id that does not exist is named by `check`, and
its usage is priced all the same.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from psycopg import sql

from jobs.postgres.catalog import Catalog
from jobs.postgres.connections import Connection
from jobs.postgres.findings import Finding
from jobs.postgres.sql_loader import app_table, compose
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.postgres.preflight import SourceCapabilities

KEYS = {"usage_daily": "id", "users": "id", "hopsworks_clusters": "id", "user_credits": "user_id"}
"""By table the column that tells its rows apart."""
DOUBLED = {
    "usage_daily": "Its rows would be priced and drawn twice",
    "users": "Nobody could say how these users pay",
    "hopsworks_clusters": "Nobody could say what these clusters are called",
    "user_credits": "Nobody could say which account pays",
}


def find_doubled_keys(connection: Connection, settings: Settings, known: Catalog, *, views: bool) -> Iterator[Finding]:
    """A refusal for each table whose key is not unique, naming the first that are there twice.

    ``views``: whether usage_daily is counted where it is a view, which no index tells anything about; of other tables
    without a unique index that is done always, for they are small.
    """
    for table, column in KEYS.items():
        key = known.source.get(table, {}).get(column)
        if key is None or "SELECT" not in key.rights or _is_unique(known, table, column):
            continue
        if table == "usage_daily" and table in known.source_views and not views:
            continue
        name = {"table": app_table(settings, table), "key": sql.Identifier(column)}
        doubled = [str(row[0]) for row in connection.execute(compose("preflight.doubled_keys", **name))]
        if doubled:
            found = f"twice or more: {', '.join(doubled)}"
            remedy = f"Remove what is there twice, then: ALTER TABLE {table} ADD UNIQUE ({column})"
            yield Finding("refused", f"{table}.{column}", "each value once", found, DOUBLED[table], remedy)
        elif table == "usage_daily" and table not in known.source_views:
            remedy = f"ALTER TABLE {table} ADD PRIMARY KEY ({column})"
            expected, found = f"a unique index with {column}", "none"
            yield Finding("refused", f"{table}.{column}", expected, found, DOUBLED[table], remedy)


def _is_unique(known: Catalog, table: str, column: str) -> bool:
    """Whether an index keeps the key unique. That of a partitioned usage_daily holds the partitions' column as well."""
    indexes = [columns for name, columns, _ in known.source_keys if name == table]
    return any(column in columns if table == "usage_daily" else columns == {column} for columns in indexes)


def find_unknown_ids(
    connection: Connection, settings: Settings, source: "SourceCapabilities", since: date
) -> Iterator[Finding]:
    """One note per kind: the first ten ids, with their rows since ``since``."""
    for table, column, readable in (
        ("users", "user_id", source.has_users),
        ("hopsworks_clusters", "hopsworks_cluster_id", source.has_clusters),
    ):
        if not readable:
            continue
        text = compose(
            "preflight.orphans",
            column=sql.Identifier(column),
            usage=app_table(settings, "usage_daily"),
            target=app_table(settings, table),
        )
        rows = connection.execute(text, {"since": since}).fetchall()
        named = ", ".join(f"{missing} ({count} rows)" for missing, count in rows)
        subject = f"usage_daily.{column} since {since}"
        if named:
            yield Finding("note", subject, f"ids of {table}", f"unknown: {named}", "Counted and priced all the same")
        else:
            yield Finding("ok", subject, f"ids of {table}", "all known")

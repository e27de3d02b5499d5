"""Checks keys and references of the application's tables.

A duplicate row would be priced, or joined to usage, twice. Usage of an unknown user or cluster is priced all the same;
`check` names the unknown ids.
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
"""By table the column that identifies a row."""
DOUBLED = {
    "usage_daily": "Its rows would be priced and drawn twice",
    "users": "The billing mode of these users would not be known",
    "hopsworks_clusters": "The names of these clusters would not be known",
    "user_credits": "The account that pays would not be known",
}


def find_doubled_keys(connection: Connection, settings: Settings, known: Catalog, *, views: bool) -> Iterator[Finding]:
    """Yields a refusal for each table whose key is not unique, with the first duplicate keys.

    ``views``: count the keys of usage_daily also where it is a view, which has no index. The keys of the other tables,
    which are small, are always counted where there is no unique index.
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
            remedy = f"Remove the duplicate rows, then: ALTER TABLE {table} ADD UNIQUE ({column})"
            yield Finding("refused", f"{table}.{column}", "each value once", found, DOUBLED[table], remedy)
        elif table == "usage_daily" and table not in known.source_views:
            remedy = f"ALTER TABLE {table} ADD PRIMARY KEY ({column})"
            expected, found = f"a unique index with {column}", "none"
            yield Finding("refused", f"{table}.{column}", expected, found, DOUBLED[table], remedy)


def _is_unique(known: Catalog, table: str, column: str) -> bool:
    """Whether a unique index covers the key. That of a partitioned usage_daily also has the partition column."""
    indexes = [columns for name, columns, _ in known.source_keys if name == table]
    return any(column in columns if table == "usage_daily" else columns == {column} for columns in indexes)


def find_unknown_ids(
    connection: Connection, settings: Settings, source: "SourceCapabilities", since: date
) -> Iterator[Finding]:
    """Yields one finding per kind of id: the first ten unknown ids with their rows since ``since``, or "ok"."""
    for table, column, readable in (
        ("users", "user_id", source.has_users),
        ("hopsworks_clusters", "hopsworks_cluster_id", source.has_clusters),
    ):
        if not readable:
            continue
        text = compose(
            "preflight.unknown_ids",
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

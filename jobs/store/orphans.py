"""Users and clusters that usage refers to and that do not exist: named by `check`, priced all the same."""

from collections.abc import Iterator
from datetime import date

from psycopg import sql

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.findings import Finding
from jobs.store.preflight import Source
from jobs.store.statements import source, statement


def findings(connection: Connection, settings: Settings, held: Source, since: date) -> Iterator[Finding]:
    """One note per kind: the first ten ids, with their rows since ``since``."""
    for table, column, readable in (
        ("users", "user_id", held.has_users),
        ("hopsworks_clusters", "hopsworks_cluster_id", held.has_clusters),
    ):
        if not readable:
            continue
        text = statement(
            "orphans",
            column=sql.Identifier(column),
            usage=source(settings, "usage_daily"),
            target=source(settings, table),
        )
        rows = connection.execute(text, {"since": since}).fetchall()
        named = ", ".join(f"{missing} ({count} rows)" for missing, count in rows)
        subject = f"usage_daily.{column} since {since}"
        if named:
            yield Finding("note", subject, f"ids of {table}", f"unknown: {named}", "Counted and priced all the same")
        else:
            yield Finding("ok", subject, f"ids of {table}", "all known")

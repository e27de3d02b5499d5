"""Checks the application's tables against what the job needs of them: columns, privileges, keys.

A duplicate row would be priced, or joined to usage, twice. Usage of an unknown user or cluster is priced all the same;
`check` names the unknown ids.
"""

from collections.abc import Iterator, Sequence
from datetime import date

from psycopg import sql

from jobs.postgres.catalog import Catalog, Column
from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import SCALED
from jobs.postgres.findings import Finding, Level, fill, grant, lacks_privileges, retype
from jobs.postgres.needs import OPTIONAL_TABLES, TRANSACTION_COLUMNS, ColumnNeed
from jobs.postgres.source_capabilities import SourceCapabilities
from jobs.postgres.sql_loader import app_table, compose
from jobs.settings import Settings

TRANSACTION_TYPE = "usage"
"""The value of `type` in each of our transactions."""
READ_BY_RUNS = ("user_id", "type", "amount", "metadata")
"""Columns of credit_transactions that a run reads, to compare it with the ledger and to find other deployments."""
KEYS = {
    "usage_daily": ("id", "Its rows would be priced and drawn twice"),
    "users": ("id", "The billing mode of these users would not be known"),
    "hopsworks_clusters": ("id", "The names of these clusters would not be known"),
    "user_credits": ("user_id", "The account that pays would not be known"),
}
"""By table the column that identifies a row, and what follows where two rows have the same value."""


def check_source(catalog: Catalog, settings: Settings, of_columns: Sequence[Finding]) -> Iterator[Finding]:
    """Yields every finding about these tables. ``of_columns``: the results of ``check_column``."""
    if "usage_daily" not in catalog.source:
        others = ", ".join(sorted(catalog.source)) or "none of the tables"
        found = f"no such table ({others} found there)"
        remedy = "Check the database in the address, and source_schema in the settings"
        expected = f"a table in schema {settings.source_schema}"
        yield Finding("refused", "usage_daily", expected, found, "There is no usage", remedy)
        return
    yield from of_columns
    if "user_credits" in catalog.source:
        yield from _check_transactions(catalog)
        yield from _check_decimals(catalog, settings)
    for name, table in OPTIONAL_TABLES.items():
        if name not in catalog.source and table.fact in catalog.facts:
            yield Finding(
                "unwritable", name, "the table that runs have used", "no such table", table.loss, table.remedy
            )
        elif name not in catalog.source:
            yield Finding("note", name, "a table", "no such table", table.consequence)


def check_column(catalog: Catalog, need: ColumnNeed) -> Finding:
    """Compares a needed column with the column that exists."""
    columns = catalog.source.get(need.table, {})
    column = columns.get(need.column)
    label = f" (meter {need.meter})" if need.meter not in ("", need.column) else ""
    subject, consequence = f"{need.table}.{need.column}{label}", need.consequence or ""
    if column is None and need.consequence is not None:
        return Finding("note", subject, need.expected, "no such column", consequence, need.remedy)
    if column is None:
        found = f"no such column (there are: {', '.join(sorted(columns)) or 'no such table'})"
        return Finding("refused", subject, need.expected, found, "The job needs it", need.remedy)
    if not need.types or column.type in need.types:
        return _check_privileges(catalog, need, column, subject)
    remedy = retype(column, need.types[0]) + (" Or map the meter to another column" if need.meter else "")
    if need.is_dispensable:
        return Finding("note", subject, need.expected, column.type, consequence, remedy)
    consequence = "Its values could not be read exactly"
    return Finding("refused", subject, need.expected, column.type, consequence, remedy)


def _check_privileges(catalog: Catalog, need: ColumnNeed, column: Column, subject: str) -> Finding:
    missing = [right for right in need.rights if right not in column.rights]
    if column.is_generated and set(need.rights) & {"UPDATE", "INSERT"}:
        remedy = f"ALTER TABLE {column.place} ALTER COLUMN {column.quoted} DROP EXPRESSION;"
        expected, found = "a column of its own", "a generated column"
        return Finding("unwritable", subject, expected, found, "It could not be written", remedy)
    if not missing:
        return Finding("ok", subject, need.expected, column.type)
    level: Level = "unwritable"
    consequence = "It could not be written"
    if missing == ["SELECT"] and "INSERT" in need.rights and need.column not in READ_BY_RUNS:
        level, consequence = "unprovable", "reconcile cannot prove what was posted"
    elif "SELECT" in missing and need.is_dispensable:
        level, consequence = "note", need.consequence or ""
    elif "SELECT" in missing:
        level, consequence = "refused", "It could not be read"
    remedy = grant(missing, column.place, catalog.server["quoted_role"], column.quoted)
    return lacks_privileges(level, subject, need.rights, missing, consequence, remedy)


def _check_transactions(catalog: Catalog) -> Iterator[Finding]:
    """Checks credit_transactions: an enum without our type, and required columns that the job does not fill."""
    for name, column in catalog.source.get("credit_transactions", {}).items():
        subject, consequence = f"credit_transactions.{name}", "Nothing could be posted"
        if name == "type" and column.enum is not None and TRANSACTION_TYPE not in column.labels:
            expected, found = f"an enum with the label {TRANSACTION_TYPE!r}", f"{column.enum} without it"
            remedy = f"ALTER TYPE {column.enum} ADD VALUE '{TRANSACTION_TYPE}';"
            yield Finding("unwritable", subject, expected, found, consequence, remedy)
        if column.is_required and name not in TRANSACTION_COLUMNS:
            expected, found = "null, or a default", "NOT NULL without a default"
            remedy = f"{fill(column)} Or give it a default"
            yield Finding("unwritable", subject, expected, found, consequence, remedy)


def _check_decimals(catalog: Catalog, settings: Settings) -> Iterator[Finding]:
    """Notes columns with fewer decimals than the currency: credits are then drawn in units of their last decimal."""
    for table, name in SCALED:
        column = catalog.source.get(table, {}).get(name)
        if column is not None and column.decimals is not None and column.decimals < settings.currency_scale:
            expected, found = f"{settings.currency_scale} decimals", f"{column.decimals} decimals"
            consequence, remedy = "Credits are drawn in units of its last decimal", "Give it the currency's decimals"
            yield Finding("note", f"{table}.{name}", expected, found, consequence, remedy)


def find_doubled_keys(
    connection: Connection, settings: Settings, catalog: Catalog, *, views: bool
) -> Iterator[Finding]:
    """Yields a refusal for each table whose key is not unique, with the first duplicate keys.

    ``views``: count the keys of usage_daily also where it is a view, which has no index. The keys of the other tables,
    which are small, are always counted where there is no unique index.
    """
    for table, (name, consequence) in KEYS.items():
        column = catalog.source.get(table, {}).get(name)
        is_usage, is_view = table == "usage_daily", table in catalog.server["views"]
        if column is None or "SELECT" not in column.rights or _is_unique(catalog, table, name):
            continue
        text = compose("preflight.doubled_keys", table=app_table(settings, table), key=sql.Identifier(name))
        doubled = connection.execute(text).fetchall() if views or not (is_usage and is_view) else []
        if doubled:
            expected, found = "each value once", f"twice or more: {', '.join(str(value) for (value,) in doubled)}"
            remedy = f"Remove the duplicate rows, then: ALTER TABLE {table} ADD UNIQUE ({name})"
            yield Finding("refused", f"{table}.{name}", expected, found, consequence, remedy)
        elif is_usage and not is_view:
            expected, remedy = f"a unique index with {name}", f"ALTER TABLE {table} ADD PRIMARY KEY ({name})"
            yield Finding("refused", f"{table}.{name}", expected, "none", consequence, remedy)


def _is_unique(catalog: Catalog, table: str, column: str) -> bool:
    """Whether a unique index covers the key. That of a partitioned usage_daily also has the partition column."""
    indexes = [columns for name, columns, _ in catalog.keys if name == table]
    return any(column in columns if table == "usage_daily" else columns == {column} for columns in indexes)


def find_unknown_ids(
    connection: Connection, settings: Settings, source: SourceCapabilities, since: date
) -> Iterator[Finding]:
    """Yields one finding per kind of id: the first ten unknown ids with their rows since ``since``, or "ok"."""
    tables = (
        ("users", "user_id", source.has_users),
        ("hopsworks_clusters", "hopsworks_cluster_id", source.has_clusters),
    )
    for table, column in ((table, column) for table, column, is_readable in tables if is_readable):
        parts = {"column": sql.Identifier(column), "target": app_table(settings, table)}
        rows = connection.execute(compose("preflight.unknown_ids", settings, **parts), {"since": since})
        unknown = ", ".join(f"{missing} ({count} rows)" for missing, count in rows)
        subject, expected = f"usage_daily.{column} since {since}", f"ids of {table}"
        if unknown:
            yield Finding("note", subject, expected, f"unknown: {unknown}", "Counted and priced all the same")
        else:
            yield Finding("ok", subject, expected, "all known")

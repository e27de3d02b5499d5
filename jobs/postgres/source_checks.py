"""Checks the application's tables against what the job needs of them: columns, privileges, row-level security, keys.

A duplicate row would be priced, or joined to usage, twice. Usage of an unknown user or cluster is priced all the same;
`check` names the unknown ids.
"""

from collections.abc import Iterator, Sequence
from datetime import date

from psycopg import sql

from jobs.postgres.catalog import Catalog, Column, RowSecurity
from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import SCALED
from jobs.postgres.findings import Finding, Level, fill, grant, lacks_privileges, retype
from jobs.postgres.required_columns import OPTIONAL_TABLES, TRANSACTION_COLUMNS, ColumnRequirement
from jobs.postgres.source_capabilities import SourceCapabilities
from jobs.postgres.sql_loader import app_table, compose
from jobs.settings import Settings

INEXACT = "Its values could not be read exactly"
TRANSACTION_TYPE = "usage"
"""The value of `type` in each of our transactions."""
READ_BY_RUNS = ("user_id", "type", "amount", "metadata")
"""Columns of credit_transactions that a run reads, to compare it with the ledger and to find other deployments."""
USED_BEFORE = {
    "user_credits": (
        "drawn",
        "Draws in the ledger could not be corrected",
        "Restore it: it holds the accounts that rollup.credit_draws has drawn on",
    ),
    "user_pricing_overrides": (
        "overridden",
        "Users with overrides in open months would be charged list prices",
        "Restore it (an empty table of this name says that no user has an override)",
    ),
}
"""By optional table: the fact that shows that runs have used it, what follows where it is missing, and the remedy."""
KEYS = {
    "usage_daily": ("id", "Its rows would be priced and drawn twice"),
    "users": ("id", "The billing mode of these users would not be known"),
    "hopsworks_clusters": ("id", "The names of these clusters would not be known"),
    "user_credits": ("user_id", "The account that pays would not be known"),
}
"""By table the column that identifies a row, and what follows where two rows have the same value."""


def check_source(catalog: Catalog, settings: Settings, needed: Sequence[ColumnRequirement]) -> Iterator[Finding]:
    """Yields what differs from the requirements ``needed``, and each column that does not."""
    if "usage_daily" not in catalog.source:
        others = ", ".join(sorted(catalog.source)) or "none of the tables"
        found = f"no such table ({others} found there)"
        remedy = "Check the database in the address, and source_schema in the settings"
        expected = f"a table in schema {settings.source_schema}"
        yield Finding("refused", "usage_daily", expected, found, "There is no usage", remedy)
    else:
        yield from (check_column(catalog, need) for need in needed)
        yield from _check_transactions(catalog)
        yield from _check_decimals(catalog, settings)
        yield from _check_optional_tables(catalog)
    for table in sorted(catalog.source.keys() & catalog.row_security.keys()):
        needs = [need for need in needed if need.table == table and need.column in catalog.source.get(table, {})]
        actions = sorted({right for need in needs for right in need.rights})
        place, is_dispensable = f"{settings.source_schema}.{table}", all(need.is_dispensable for need in needs)
        yield from check_visibility(
            place, catalog.row_security[table], actions, catalog.server["role"], is_dispensable=is_dispensable
        )


def check_column(catalog: Catalog, need: ColumnRequirement) -> Finding:
    """Compares one required column with the column that exists."""
    columns = catalog.source.get(need.table, {})
    column = columns.get(need.column)
    label = f" (meter {need.meter})" if need.meter not in ("", need.column) else ""
    subject = f"{need.table}.{need.column}{label}"
    if column is None:
        if need.consequence is not None:
            return Finding("note", subject, need.expected, "no such column", need.consequence, need.remedy)
        found = f"no such column (there are: {', '.join(sorted(columns)) or 'no such table'})"
        return Finding("refused", subject, need.expected, found, "The job needs it", need.remedy)
    if need.types and column.type not in need.types:
        consequence = need.consequence if need.is_dispensable and need.consequence else INEXACT
        remedy = retype(column, need.types[0]) + (" Or map the meter to another column" if need.meter else "")
        return Finding(
            "note" if need.is_dispensable else "refused", subject, need.expected, column.type, consequence, remedy
        )
    return _check_privileges(catalog, need, column, subject)


def _check_privileges(catalog: Catalog, need: ColumnRequirement, column: Column, subject: str) -> Finding:
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
    elif "SELECT" in missing:
        level, consequence = (
            ("note", need.consequence or "") if need.is_dispensable else ("refused", "It could not be read")
        )
    remedy = grant(missing, column.place, catalog.server["quoted_role"], column.quoted)
    return lacks_privileges(level, subject, need.rights, missing, consequence, remedy)


def _check_transactions(catalog: Catalog) -> Iterator[Finding]:
    """Checks credit_transactions: an enum without our type, and required columns that the job does not fill."""
    columns = catalog.source.get("credit_transactions", {})
    kind = columns.get("type")
    if (
        kind is not None
        and kind.enum is not None
        and TRANSACTION_TYPE not in kind.labels
        and "user_credits" in catalog.source
    ):
        found, remedy = f"{kind.enum} without it", f"ALTER TYPE {kind.enum} ADD VALUE '{TRANSACTION_TYPE}';"
        expected = f"an enum with the label {TRANSACTION_TYPE!r}"
        yield Finding("unwritable", "credit_transactions.type", expected, found, "Nothing could be posted", remedy)
    for name, column in columns.items():
        if column.is_required and name not in TRANSACTION_COLUMNS:
            subject, found = f"credit_transactions.{name}", "NOT NULL without a default"
            remedy = f"{fill(column)} Or give it a default"
            yield Finding("unwritable", subject, "null, or a default", found, "Nothing could be posted", remedy)


def _check_decimals(catalog: Catalog, settings: Settings) -> Iterator[Finding]:
    """Notes columns with fewer decimals than the currency: credits are then drawn in units of their last decimal."""
    columns = [(table, catalog.source.get(table, {}).get(name)) for table, names in SCALED.items() for name in names]
    for table, column in columns if "user_credits" in catalog.source else ():
        if column is not None and column.decimals is not None and column.decimals < settings.currency_scale:
            expected, found = f"{settings.currency_scale} decimals", f"{column.decimals} decimals"
            consequence, remedy = "Credits are drawn in units of its last decimal", "Give it the currency's decimals"
            yield Finding("note", f"{table}.{column.name}", expected, found, consequence, remedy)


def _check_optional_tables(catalog: Catalog) -> Iterator[Finding]:
    for table in (table for table in OPTIONAL_TABLES if table not in catalog.source):
        fact, consequence, remedy = USED_BEFORE.get(table, ("", "", ""))
        if fact in catalog.facts:
            yield Finding("unwritable", table, "the table that runs have used", "no such table", consequence, remedy)
        else:
            yield Finding("note", table, "a table", "no such table", OPTIONAL_TABLES[table])


def check_visibility(
    table: str, security: RowSecurity, actions: Sequence[str], role: str, *, is_dispensable: bool = False
) -> Iterator[Finding]:
    """Checks whether row-level security hides rows of a table: it then seems to be empty, without an error.

    ``actions``: what the job does there; ``is_dispensable``: whether it can do without the table.
    """
    if not security.in_force:
        return
    subject = f"{table}, row-level security"
    blocked = [action for action in actions if action not in security.allowed]
    if blocked:
        level: Level = "note" if is_dispensable else "refused" if "SELECT" in blocked else "unwritable"
        found = f"in force for role {role}, and no policy lets it {', '.join(blocked)}"
        consequence = "A table whose rows are hidden seems to be empty, without an error"
        remedy = f"Run: usage-jobs schema --role {role} --apply (as the owner), or give the role BYPASSRLS"
        yield Finding(level, subject, "rows to be visible", found, consequence, remedy)
    elif set(actions) - set(security.unrestricted):
        remedy = "Policies decide which rows this role sees: make sure that it is all of them"
        yield Finding("note", subject, "not in force", "in force, with a policy", "", remedy)


def find_doubled_keys(
    connection: Connection, settings: Settings, catalog: Catalog, *, views: bool
) -> Iterator[Finding]:
    """Yields a refusal for each table whose key is not unique, with the first duplicate keys.

    ``views``: count the keys of usage_daily also where it is a view, which has no index. The keys of the other tables,
    which are small, are always counted where there is no unique index.
    """
    for table, (column, consequence) in KEYS.items():
        key = catalog.source.get(table, {}).get(column)
        is_usage, is_view = table == "usage_daily", table in catalog.server["views"]
        is_readable = key is not None and "SELECT" in key.rights
        if not is_readable or _is_unique(catalog, table, column) or (is_usage and is_view and not views):
            continue
        text = compose("preflight.doubled_keys", table=app_table(settings, table), key=sql.Identifier(column))
        doubled = [str(row[0]) for row in connection.execute(text)]
        if doubled:
            found = f"twice or more: {', '.join(doubled)}"
            remedy = f"Remove the duplicate rows, then: ALTER TABLE {table} ADD UNIQUE ({column})"
            yield Finding("refused", f"{table}.{column}", "each value once", found, consequence, remedy)
        elif is_usage and not is_view:
            remedy = f"ALTER TABLE {table} ADD PRIMARY KEY ({column})"
            yield Finding("refused", f"{table}.{column}", f"a unique index with {column}", "none", consequence, remedy)


def _is_unique(catalog: Catalog, table: str, column: str) -> bool:
    """Whether a unique index covers the key. That of a partitioned usage_daily also has the partition column."""
    indexes = [columns for name, columns, _ in catalog.keys if name == table]
    return any(column in columns if table == "usage_daily" else columns == {column} for columns in indexes)


def find_unknown_ids(
    connection: Connection, settings: Settings, source: SourceCapabilities, since: date
) -> Iterator[Finding]:
    """Yields one finding per kind of id: the first ten unknown ids with their rows since ``since``, or "ok"."""
    referred = {
        "users": ("user_id", source.has_users),
        "hopsworks_clusters": ("hopsworks_cluster_id", source.has_clusters),
    }
    for table, (column, is_readable) in referred.items():
        if not is_readable:
            continue
        parts = {"column": sql.Identifier(column), "target": app_table(settings, table)}
        rows = connection.execute(compose("preflight.unknown_ids", settings, **parts), {"since": since})
        unknown = ", ".join(f"{missing} ({count} rows)" for missing, count in rows)
        level: Level = "note" if unknown else "ok"
        found, consequence = (
            (f"unknown: {unknown}", "Counted and priced all the same") if unknown else ("all known", "")
        )
        yield Finding(level, f"usage_daily.{column} since {since}", f"ids of {table}", found, consequence)

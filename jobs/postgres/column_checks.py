"""Compares tables and columns with what the job needs of them: one finding each."""

from collections.abc import Iterator, Sequence

from jobs.postgres.catalog import Catalog, Column
from jobs.postgres.credit_capabilities import SCALED, decimals_of
from jobs.postgres.findings import Finding, Level
from jobs.postgres.remedies import fill, retype
from jobs.postgres.required_columns import TABLES, TRANSACTION, ColumnRequirement, own_rights
from jobs.postgres.schema import APPEND_ONLY, Table, tables
from jobs.settings import Settings

INEXACT = "Its values could not be read exactly"
USAGE = "usage"
"""The value of `type` in each of our transactions."""
APPLY = "Run: usage-jobs schema --apply"
READ_BY_RUNS = ("user_id", "type", "amount", "metadata")
"""Columns of credit_transactions that a run reads, to compare it with the ledger and to find other deployments."""


def check_source(known: Catalog, settings: Settings, needed: Sequence[ColumnRequirement]) -> Iterator[Finding]:
    """Checks the application's tables and columns against the requirements ``needed``."""
    schema = settings.source_schema
    if "usage_daily" not in known.source:
        others = ", ".join(sorted(known.source)) or "none of the tables"
        found = f"no such table ({others} found there)"
        remedy = "Check the database in the address, and source_schema in the settings"
        yield Finding("refused", "usage_daily", f"a table in schema {schema}", found, "There is no usage", remedy)
        return
    for need in needed:
        yield check_column(known, need)
    yield from _check_unfilled_columns(known)
    yield from _check_scale(known, settings)
    for table, lack in TABLES.items():
        fact, consequence, remedy = _REQUIRED_BY_DATA.get(table, ("", "", ""))
        if table not in known.source and fact in known.facts:
            yield Finding("unwritable", table, "the table that runs have used", "no such table", consequence, remedy)
        elif table not in known.source:
            yield Finding("note", table, "a table", "no such table", lack)


def _check_unfilled_columns(known: Catalog) -> Iterator[Finding]:
    """Checks credit_transactions: required columns that the job does not fill, and an enum without our type."""
    kind = known.source.get("credit_transactions", {}).get("type")
    if kind is not None and kind.enum is not None and USAGE not in kind.labels and "user_credits" in known.source:
        found, remedy = f"{kind.enum} without it", f"ALTER TYPE {kind.enum} ADD VALUE '{USAGE}';"
        expected = f"an enum with the label {USAGE!r}"
        yield Finding("unwritable", "credit_transactions.type", expected, found, "Nothing could be posted", remedy)
    for name, column in known.source.get("credit_transactions", {}).items():
        if column.is_required and name not in TRANSACTION:
            subject, found = f"credit_transactions.{name}", "NOT NULL without a default"
            remedy = f"{fill(column)} Or give it a default"
            yield Finding("unwritable", subject, "null, or a default", found, "Nothing could be posted", remedy)


def _check_scale(known: Catalog, settings: Settings) -> Iterator[Finding]:
    """Notes columns with fewer decimals than the currency: credits are then drawn in units of their last decimal."""
    for table, names in SCALED.items():
        for name in names if "user_credits" in known.source else ():
            column = known.source.get(table, {}).get(name)
            decimals = None if column is None else decimals_of(column)
            if decimals is not None and decimals < settings.currency_scale:
                expected, found = f"{settings.currency_scale} decimals", f"{decimals} decimals"
                consequence = "Credits are drawn in units of its last decimal"
                yield Finding(
                    "note", f"{table}.{name}", expected, found, consequence, "Give it the currency's decimals"
                )


# By table that was used before: the fact that shows it, what follows where the table is missing, and what to do.
_REQUIRED_BY_DATA = {
    "user_credits": (
        *("drawn", "Draws in the ledger could not be corrected"),
        "Restore it: it holds the accounts that rollup.credit_draws has drawn on",
    ),
    "user_pricing_overrides": (
        *("overridden", "Users with overrides in open months would be charged list prices"),
        "Restore it (an empty table of this name says that no user has an override)",
    ),
}


def check_column(known: Catalog, need: ColumnRequirement) -> Finding:
    """Compares one required column with the column that exists."""
    columns = known.source.get(need.table, {})
    column = columns.get(need.column)
    label = f" (meter {need.meter})" if need.meter not in ("", need.column) else ""
    subject = f"{need.table}.{need.column}{label}"
    if column is None:
        there = ", ".join(sorted(columns.keys())) or "no such table"
        level: Level = "refused" if need.lack is None else "note"
        found = f"no such column (there are: {there})" if need.lack is None else "no such column"
        return Finding(level, subject, need.expected, found, need.lack or "The job needs it", need.remedy)
    if need.types and column.type not in need.types:
        consequence = need.lack if need.spare and need.lack else INEXACT
        remedy = retype(column, need.types[0]) + (" Or map the meter to another column" if need.meter else "")
        return Finding("note" if need.spare else "refused", subject, need.expected, column.type, consequence, remedy)
    return _check_privileges(known, need, column, subject)


def _check_privileges(known: Catalog, need: ColumnRequirement, column: Column, subject: str) -> Finding:
    missing = [right for right in need.rights if right not in column.rights]
    if column.is_generated and set(need.rights) & {"UPDATE", "INSERT"}:
        consequence = "It could not be written"
        remedy = f"ALTER TABLE {column.place} ALTER COLUMN {column.quoted} DROP EXPRESSION;"
        return Finding("unwritable", subject, "a column of its own", "a generated column", consequence, remedy)
    if not missing:
        return Finding("ok", subject, need.expected, column.type)
    grant = ", ".join(f"{right} ({column.quoted})" for right in missing)
    remedy = f"GRANT {grant} ON {column.place} TO {known.server['quoted_role']};"
    level: Level = "unwritable"
    consequence = "It could not be written"
    if missing == ["SELECT"] and "INSERT" in need.rights and need.column not in READ_BY_RUNS:
        level, consequence = "unprovable", "reconcile cannot prove what was posted"
    elif "SELECT" in missing:
        level, consequence = ("note", need.lack or "") if need.spare else ("refused", "It could not be read")
    return Finding(level, subject, _list_privileges(need.rights), f"no {' nor '.join(missing)}", consequence, remedy)


def _list_privileges(rights: Sequence[str]) -> str:
    return f"the privilege{'s' if len(rights) > 1 else ''} {', '.join(rights)}"


def check_own(known: Catalog, settings: Settings) -> Iterator[Finding]:
    """Checks the job's own tables."""
    if not known.own:
        expected, found = "the job's own tables", "none of them"
        yield Finding(
            "refused", f"schema {settings.rollup_schema}", expected, found, "There is nowhere to write to", APPLY
        )
        return
    for table in tables(settings.meters):
        yield from _check_own_table(known, settings, table)


def _check_own_table(known: Catalog, settings: Settings, table: Table) -> Iterator[Finding]:
    subject = f"{settings.rollup_schema}.{table.name}"
    there = known.own.get(table.name, {})
    missing = [name for name in table.columns if name not in there]
    if missing:
        found = f"without {', '.join(missing)}" if there else "no such table"
        yield Finding("refused", subject, "the job's own table", found, "There is nowhere to write to", APPLY)
        return
    wrong = [name for name in table.columns if not _is_as_created(there[name], table.columns[name])]
    for name in wrong:
        kind = table.kind(name)
        found = there[name].type + ("" if there[name].scale is None else f" with {there[name].scale} decimals")
        remedy = retype(there[name], kind)
        yield Finding("refused", f"{subject}.{name}", kind, found, "Its values would not be stored exactly", remedy)
    if not any(
        name == table.name and columns == set(table.key) and nulls >= table.null_in_key
        for name, columns, nulls in known.keys
    ):
        expected = f"a unique key ({', '.join(table.key)})"
        yield Finding("unwritable", subject, expected, "none", "Rows could not be found by their key", APPLY)
    yield from _check_own_privileges(known, settings, table)
    yield from _check_integrity(known, subject, table)
    if not wrong:
        yield Finding("ok", subject, "the job's own table", f"{len(there)} columns")


def _check_integrity(known: Catalog, subject: str, table: Table) -> Iterator[Finding]:
    """Checks what protects the data of a table: the append-only trigger, defaults, extra columns, lost rows."""
    if table.name in APPEND_ONLY and table.name not in known.append_only:
        yield Finding(
            "note", subject, "append-only: no UPDATE, no DELETE", "no trigger", "Posted entries could be changed", APPLY
        )
    yield from _check_defaults(known, subject, table)
    extra = [name for name in known.own[table.name] if name not in table.columns]
    if extra:
        consequence = "They keep their values: no run writes them"
        remedy = "Configure the meter again, or drop the columns"
        yield Finding(
            "note", f"{subject}, columns", "those of configured meters", ", ".join(extra), consequence, remedy
        )
    if f"{_LOST.get(table.name)}" in known.facts:
        remedy = "Restore the table from a backup: its rows cannot be computed again"
        found, consequence = _WHAT_WAS_LOST[table.name]
        yield Finding("unwritable", subject, "the rows that earlier runs have written", found, consequence, remedy)


def _check_defaults(known: Catalog, subject: str, table: Table) -> Iterator[Finding]:
    """Checks for columns that the job does not fill, that are NOT NULL and have no default."""
    made, columns = table.columns, known.own[table.name].values()
    right = [column for column in columns if column.name not in made or _is_as_created(column, made[column.name])]
    bare = [column for column in right if column.is_required and not _is_filled_by_job(made.get(column.name))]
    if bare:
        found = f"NOT NULL without a default: {', '.join(c.name for c in bare)}"
        remedy = " ".join(fill(column, made.get(column.name, "")) for column in bare)
        yield Finding("unwritable", subject, "columns with a default", found, "No row could be added", remedy)


def _is_filled_by_job(definition: str | None) -> bool:
    """Whether the job fills a column in its INSERTs: one of its schema, without a default."""
    return definition is not None and "DEFAULT" not in definition and "GENERATED" not in definition


_LOST = {"credit_draws": "ledger_lost", "months": "months_lost"}
_WHAT_WAS_LOST = {
    "credit_draws": ("an empty ledger", "Credits of all users would be drawn again"),
    "months": ("months without their closing", "Closed months would be billed again"),
}


def _check_own_privileges(known: Catalog, settings: Settings, table: Table) -> Iterator[Finding]:
    subject, rights = f"{settings.rollup_schema}.{table.name}", own_rights(table.name)
    columns = list(known.own[table.name].values())
    missing = [right for right in rights if not all(right in column.rights for column in columns)]
    if missing:
        grant = f"GRANT {', '.join(missing)} ON {columns[0].place} TO {known.server['quoted_role']};"
        level: Level = "refused" if "SELECT" in missing else "unwritable"
        found, consequence = f"no {' nor '.join(missing)}", "The job could not write its own tables"
        yield Finding(level, subject, _list_privileges(rights), found, consequence, grant)


_NAMES = {"timestamptz": "timestamp with time zone"}


def _is_as_created(column: Column, definition: str) -> bool:
    """Whether a column has the type and scale that the schema gives it."""
    name, _, scale = definition.split(maxsplit=1)[0].partition("(")
    wanted = int(scale.rstrip(")").split(",")[1]) if scale else None
    return column.type == _NAMES.get(name, name) and column.scale == wanted

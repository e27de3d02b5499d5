"""Checks the job's own tables: columns, keys, privileges, defaults, row-level security, lost rows."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain

from jobs.domain.tables import APPEND_ONLY, Table, tables
from jobs.postgres.catalog import Catalog, Column
from jobs.postgres.findings import Finding, Level, fill, grant, lacks_privileges, retype
from jobs.postgres.needs import own_rights
from jobs.settings import Settings

NOWHERE = "There is nowhere to write to"
APPLY = "Run: usage-jobs schema --apply"
LOST_ROWS = {
    "credit_draws": ("ledger_lost", "an empty ledger", "Credits of all users would be drawn again"),
    "months": ("months_lost", "months without their closing", "Closed months would be billed again"),
}
"""By table: the fact that shows that rows are lost, what was found, and what follows."""
FOR_FILES = ("corrections",)
"""Tables that no run reads, but exports, statements and reports do."""


def check_own(catalog: Catalog, settings: Settings) -> Iterator[Finding]:
    """Yields what differs from the job's schema, and how many tables do not."""
    schema, expected = f"schema {settings.rollup_schema}", tables(settings.meters)
    if not catalog.own:
        yield Finding("refused", schema, "the job's own tables", "none of them", NOWHERE, APPLY)
        return
    found = [list(_check_table(catalog, f"{settings.rollup_schema}.{table.name}", table)) for table in expected]
    yield from chain(*found)
    if fine := found.count([]):
        as_created = f"{fine} of {len(found)} tables are as `usage-jobs schema` makes them"
        yield Finding("ok", schema, "the job's own tables", as_created)


def _check_table(catalog: Catalog, subject: str, table: Table) -> Iterator[Finding]:
    columns = catalog.own.get(table.name, {})
    if missing := [name for name in table.columns if name not in columns]:
        found = f"without {', '.join(missing)}" if columns else "no such table"
        yield Finding("refused", subject, "the job's own table", found, NOWHERE, APPLY)
    else:
        yield from _check_columns(subject, table, columns)
        yield from _check_privileges(catalog, subject, table, columns)
        yield from _check_safety(catalog, subject, table)
    security = catalog.row_security.get(table.name)
    if security is not None and not security.is_on:
        consequence = "A role that is granted the schema by mistake can read what customers pay"
        yield Finding("note", f"{subject}, row-level security", "on", "off", consequence, APPLY)


def _check_columns(subject: str, table: Table, columns: Mapping[str, Column]) -> Iterator[Finding]:
    """Checks types, columns that no INSERT of the job fills, and columns that are not of the schema."""
    wrong = [columns[name] for name in table.columns if not columns[name].is_of(table.kind(name))]
    for column in wrong:
        kind = table.kind(column.name)
        found = column.type + ("" if column.scale is None else f" with {column.scale} decimals")
        consequence, remedy = "Its values would not be stored exactly", retype(column, kind)
        yield Finding("refused", f"{subject}.{column.name}", kind, found, consequence, remedy)
    filled = {name for name, definition in table.columns.items() if not re.search("DEFAULT|GENERATED", definition)}
    required = [column for column in columns.values() if column.is_required and column not in wrong]
    if bare := [column for column in required if column.name not in filled]:
        found = f"NOT NULL without a default: {', '.join(column.name for column in bare)}"
        remedy = " ".join(fill(column, table.columns.get(column.name, "")) for column in bare)
        yield Finding("unwritable", subject, "columns with a default", found, "No row could be added", remedy)
    if extra := [name for name in columns if name not in table.columns]:
        expected, consequence = "those of configured meters", "They keep their values: no run writes them"
        remedy = "Configure the meter again, or drop the columns"
        yield Finding("note", f"{subject}, columns", expected, ", ".join(extra), consequence, remedy)


def _check_privileges(catalog: Catalog, subject: str, table: Table, columns: Mapping[str, Column]) -> Iterator[Finding]:
    rights, consequence = own_rights(table.name), "The job could not write its own tables"
    if missing := [right for right in rights if not all(right in column.rights for column in columns.values())]:
        level: Level = "refused" if "SELECT" in missing else "unwritable"
        if table.name in FOR_FILES and missing == ["SELECT"]:
            level, consequence = "note", "No export, statement or report could show it"
        elif table.name in FOR_FILES:
            level = "unwritable"
        remedy = grant(missing, next(iter(columns.values())).place, catalog.server["quoted_role"])
        yield lacks_privileges(level, subject, rights, missing, consequence, remedy)


def _check_safety(catalog: Catalog, subject: str, table: Table) -> Iterator[Finding]:
    """Checks what keeps rows safe: the key, the append-only trigger, and that no rows are lost."""
    key = frozenset(table.key)
    if not any(name == table.name and of == key and nulls >= table.null_in_key for name, of, nulls in catalog.keys):
        expected = f"a unique key ({', '.join(table.key)})"
        yield Finding("unwritable", subject, expected, "none", "Rows could not be found by their key", APPLY)
    if table.name in APPEND_ONLY and table.name not in catalog.server["append_only"]:
        expected, consequence = "append-only: no UPDATE, no DELETE", "Posted entries could be changed"
        yield Finding("note", subject, expected, "no trigger", consequence, APPLY)
    fact, found, consequence = LOST_ROWS.get(table.name, ("", "", ""))
    if fact in catalog.facts:
        remedy = "Restore the table from a backup: its rows cannot be computed again"
        yield Finding("unwritable", subject, "the rows that earlier runs have written", found, consequence, remedy)

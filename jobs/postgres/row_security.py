"""Checks row-level security: whether policies hide rows from the job, and whether it is on for the job's own tables."""

from collections.abc import Iterator, Mapping, Sequence

from jobs.postgres.catalog import Catalog, RowSecurity
from jobs.postgres.findings import Finding, Level
from jobs.postgres.required_columns import ColumnRequirement, own_rights
from jobs.postgres.schema import tables
from jobs.settings import Settings

HIDDEN = "A table whose rows are hidden seems to be empty, without an error"


def check_source(known: Catalog, settings: Settings, needed: Sequence[ColumnRequirement]) -> Iterator[Finding]:
    """Checks the application's tables: the job must see all rows."""
    for table, security in sorted(known.source_row_security.items()):
        needs = [need for need in needed if need.table == table and need.column in known.source.get(table, {})]
        actions = sorted({right for need in needs for right in need.rights})
        spare = all(need.spare for need in needs)
        yield from _check_visibility(f"{settings.source_schema}.{table}", security, actions, known.server, spare=spare)


def check_own(known: Catalog, settings: Settings) -> Iterator[Finding]:
    """Checks the job's own tables: row-level security is on, and policies allow the job all rows."""
    for table in tables(settings.meters):
        security = known.own_row_security.get(table.name)
        if security is None:
            continue
        subject = f"{settings.rollup_schema}.{table.name}"
        yield from _check_visibility(subject, security, own_rights(table.name), known.server, spare=False)
        if not security.is_on:
            consequence = "A role that is granted the schema by mistake can read what customers pay"
            remedy = "Run: usage-jobs schema --apply"
            yield Finding("note", f"{subject}, row-level security", "on", "off", consequence, remedy)


def _check_visibility(
    table: str, security: RowSecurity, actions: Sequence[str], server: Mapping[str, str], *, spare: bool
) -> Iterator[Finding]:
    if not security.in_force:
        return
    subject, role = f"{table}, row-level security", server["role"]
    blocked = [action for action in actions if action not in security.allowed]
    if blocked:
        level: Level = "note" if spare else "refused" if "SELECT" in blocked else "unwritable"
        found = f"in force for role {role}, and no policy lets it {', '.join(blocked)}"
        remedy = f"Run: usage-jobs schema --role {role} --apply (as the owner), or give the role BYPASSRLS"
        yield Finding(level, subject, "rows to be visible", found, HIDDEN, remedy)
    elif not set(actions) <= security.unrestricted:
        remedy = "Policies decide which rows this role sees: make sure that it is all of them"
        yield Finding("note", subject, "not in force", "in force, with a policy", "", remedy)

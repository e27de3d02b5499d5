"""Row-level security and exposure: whether walls hide rows from the job, and whether our own keep others out."""

from collections.abc import Iterator, Mapping, Sequence

from jobs.postgres.catalog import Catalog, RowSecurity
from jobs.postgres.findings import Finding, Level
from jobs.postgres.required_columns import ColumnRequirement, own_rights
from jobs.postgres.schema import tables
from jobs.settings import Settings

SPARE = ("hopsworks_clusters",)
HIDDEN = "A table whose rows are hidden reads as empty, without an error"


def of_source(known: Catalog, settings: Settings, needed: Sequence[ColumnRequirement]) -> Iterator[Finding]:
    """The application's tables."""
    for table, wall in sorted(known.source_walls.items()):
        needs = [need for need in needed if need.table == table and need.column in known.source.get(table, {})]
        actions = sorted({right for need in needs for right in need.rights})
        spare = all(need.spare for need in needs)
        yield from _hidden(f"{settings.source_schema}.{table}", wall, actions, known.server, spare=spare)


def of_own(known: Catalog, settings: Settings) -> Iterator[Finding]:
    """The job's own tables: the job passes their walls, and they stand."""
    for table in tables(settings.meters):
        wall = known.own_walls.get(table.name)
        if wall is None:
            continue
        subject = f"{settings.rollup_schema}.{table.name}"
        yield from _hidden(subject, wall, own_rights(table.name), known.server, spare=False)
        if not wall.on:
            consequence = "Whoever is granted the schema by mistake reads what customers pay"
            remedy = "Run: usage-jobs schema --apply"
            yield Finding("note", f"{subject}, row-level security", "on", "off", consequence, remedy)


def _hidden(
    table: str, wall: RowSecurity, actions: Sequence[str], server: Mapping[str, str], *, spare: bool
) -> Iterator[Finding]:
    if not wall.in_force:
        return
    subject, role = f"{table}, row-level security", server["role"]
    blocked = [action for action in actions if action not in wall.passed]
    if blocked:
        level: Level = "note" if spare else "refused" if "SELECT" in blocked else "unwritable"
        found = f"in force for role {role}, and no policy lets it {', '.join(blocked)}"
        remedy = f"Run: usage-jobs schema --role {role} --apply (as the owner), or give the role BYPASSRLS"
        yield Finding(level, subject, "rows to be visible", found, HIDDEN, remedy)
    elif not set(actions) <= wall.open:
        remedy = "Policies decide which rows this role sees: make sure that it is all of them"
        yield Finding("note", subject, "not in force", "in force, with a policy", "", remedy)

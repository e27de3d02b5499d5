"""Checks the database before a run: one list of findings. `check` prints it, and `run` refuses to start because of it.

Clock and prices are checked elsewhere.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import sql

from jobs.domain.errors import PreflightError
from jobs.postgres import access_checks, own_checks, source_checks
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.findings import REFUSING, Finding, Level, grant
from jobs.postgres.needs import Needs, read_needs
from jobs.postgres.side_effects import check_side_effects
from jobs.postgres.source_capabilities import SourceCapabilities, find_source
from jobs.settings import Settings

OLDEST_VERSION = 150000
"""The oldest version of PostgreSQL that will do, as server_version_num."""


def inspect_source(
    connection: Connection, settings: Settings, *, thorough: bool = False
) -> tuple[SourceCapabilities, list[Finding]]:
    """Returns what to read, and every finding. Raises only errors of the connection.

    ``thorough``: also run checks that take as long as reading all usage, and those that never prevent a run.
    """
    with transaction(connection) as opened:
        needs = read_needs(opened, settings)
        doubled = list(source_checks.find_doubled_keys(opened, settings, needs.catalog, views=thorough))
        access = list(access_checks.check_access(opened, settings, needs)) if thorough else []
    catalog = needs.catalog
    of_columns = [source_checks.check_column(catalog, need) for need in needs.columns]
    found = [
        *_check_server(catalog.server, settings),
        *source_checks.check_source(catalog, settings, of_columns),
        *doubled,
        *own_checks.check_own(catalog, settings),
        *_check_visibility(needs),
        *check_side_effects(needs.effects, catalog.server["quoted_role"]),
        *access,
    ]
    usable = {finding.subject for finding in of_columns if finding.level == "ok"}
    has_clusters = {"hopsworks_clusters.id", "hopsworks_clusters.name"} <= usable
    return find_source(catalog, settings, has_clusters=has_clusters, has_users="users.id" in usable), found


def refuse_findings(findings: list[Finding], *, purpose: str = "write") -> None:
    """Raises PreflightError (exit 5) with all findings that prevent a ``purpose`` (findings.REFUSING)."""
    refused = [finding for finding in findings if finding.level in REFUSING[purpose]]
    if refused:
        raise PreflightError("; ".join(map(str, refused)))


def _check_server(server: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    role = server["quoted_role"]
    level: Level = "ok" if server["version_number"] >= OLDEST_VERSION else "refused"
    yield Finding(level, "server", "PostgreSQL 15 or newer", f"PostgreSQL {server['version']}")
    if server["replica"]:
        remedy = "Give the primary's address (Supabase: the project's own, not a read replica's)"
        yield Finding("unwritable", "server", "a primary", "a read-only replica", "Nothing can be written", remedy)
    elif server["read_only"]:
        remedy = "Supabase makes a project read-only when its disk is full: make room, or enlarge the disk"
        found = "default_transaction_read_only = on"
        yield Finding("unwritable", "server", "a server that takes writes", found, "Nothing can be written", remedy)
    for schema, is_usable in (
        (settings.source_schema, server["may_use_source"]),
        (settings.rollup_schema, server["may_use_schema"] or not server["has_schema"]),
    ):
        if not is_usable:
            remedy = grant(["USAGE"], f"SCHEMA {sql.Identifier(schema).as_string(None)}", role)
            yield Finding("refused", f"schema {schema}", "the privilege USAGE", "none", "No table can be seen", remedy)
    if not server["may_stage"]:
        remedy = grant(["TEMPORARY"], f"DATABASE {server['quoted_database']}", role)
        yield Finding("unwritable", "database", "the privilege TEMPORARY", "none", "Nothing can be staged", remedy)


def _check_visibility(needs: Needs) -> Iterator[Finding]:
    """Checks whether row-level security hides rows of a table: it then seems to be empty, without an error."""
    catalog, role = needs.catalog, needs.catalog.server["role"]
    for (schema, table), rights in needs.rights.items():
        security = catalog.row_security.get(table)
        if security is None or not security.in_force:
            continue
        subject = f"{schema}.{table}, row-level security"
        if blocked := [action for action in rights if action not in security.allowed]:
            used = [need for need in needs.columns if need.table == table and need.column in catalog.source[table]]
            is_dispensable = all(need.is_dispensable for need in used)
            if not used:  # one of our own tables
                is_dispensable = table in own_checks.FOR_FILES and "INSERT" not in blocked
            level: Level = "note" if is_dispensable else "refused" if "SELECT" in blocked else "unwritable"
            found = f"in force for role {role}, and no policy lets it {', '.join(blocked)}"
            consequence = "A table whose rows are hidden seems to be empty, without an error"
            remedy = f"Run: usage-jobs schema --role {role} --apply (as the owner), or give the role BYPASSRLS"
            yield Finding(level, subject, "rows to be visible", found, consequence, remedy)
        elif rights.keys() - security.unrestricted:
            remedy = "Policies decide which rows this role sees: make sure that it is all of them"
            yield Finding("note", subject, "not in force", "in force, with a policy", "", remedy)

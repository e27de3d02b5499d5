"""Checks the database before a run: one list of findings. `check` prints it, and `run` refuses to start because of it.

``SourceCapabilities`` says what a run will read: which meters have a column, the decimals of total_cost, which optional
tables exist. Clock and prices are checked elsewhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from jobs.domain.errors import PreflightError
from jobs.domain.meters import Meter
from jobs.postgres import catalog, column_checks, credit_capabilities, key_checks, row_security, side_effects
from jobs.postgres.catalog import Catalog, Column
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.credit_capabilities import BINARIES, INTEGERS, CreditCapabilities
from jobs.postgres.findings import REFUSING, Finding, Level
from jobs.postgres.required_columns import ColumnRequirement, column_requirements
from jobs.postgres.schema import tables
from jobs.settings import Settings

OLDEST = 150000


@dataclass(frozen=True, slots=True)
class SourceCapabilities:
    """What a run can read.

    - ``meters``: the meters that have a column
    - ``types``: types of the meters' columns, by column
    - ``columns``: the columns of usage_daily that this role may read
    - ``rows_by_index``: whether usage_daily has an index that begins with id
    - ``integers``, ``binaries``: meters whose column has an integer or a binary floating-point type
    - ``cost_scale``: the decimals of usage_daily.total_cost; None: no limit
    - ``overrides``: the columns of user_pricing_overrides; None: no such table
    """

    meters: tuple[Meter, ...]
    types: Mapping[str, str]
    columns: frozenset[str]
    rows_by_index: bool
    integers: frozenset[str]
    binaries: frozenset[str]
    cost_scale: int | None
    has_clusters: bool
    has_users: bool
    overrides: frozenset[str] | None
    credits: CreditCapabilities


def inspect_source(
    connection: Connection, settings: Settings, *, thorough: bool = False
) -> tuple[SourceCapabilities, list[Finding]]:
    """Returns what to read, and every finding. Raises only errors of the connection.

    ``thorough``: also run checks that take as long as reading all usage.
    """
    with transaction(connection) as opened:
        known = catalog.read_catalog(opened, settings, [table.name for table in tables(settings.meters)])
        doubled = list(key_checks.find_doubled_keys(opened, settings, known, views=thorough))
        needed = list(column_requirements(known, settings))
        effects = side_effects.read_side_effects(opened, settings, known, needed)
    found = [
        *_check_server(known, settings),
        *column_checks.check_source(known, settings, needed),
        *row_security.check_source(known, settings, needed),
        *doubled,
        *column_checks.check_own(known, settings),
        *row_security.check_own(known, settings),
        *side_effects.check_side_effects(effects, known.server["quoted_role"]),
    ]
    return _source_capabilities(known, settings, needed), found


def refuse_findings(findings: list[Finding], *, purpose: str = "write") -> None:
    """Raises PreflightError (exit 5) with all findings that prevent a ``purpose`` (findings.REFUSING)."""
    refused = [finding for finding in findings if finding.level in REFUSING[purpose]]
    if refused:
        raise PreflightError("; ".join(_sentence(finding) for finding in refused))


def _sentence(finding: Finding) -> str:
    rest = ". ".join(text for text in (finding.consequence, finding.remedy) if text)
    return f"{finding.subject}: expected {finding.expected}; found {finding.found}. {rest}".rstrip(". ")


def _source_capabilities(known: Catalog, settings: Settings, needed: list[ColumnRequirement]) -> SourceCapabilities:
    usage: Mapping[str, Column] = known.source.get("usage_daily", {})
    meters = tuple(meter for meter in settings.meters if meter.column in usage)
    overrides = known.source.get("user_pricing_overrides")
    return SourceCapabilities(
        meters=meters,
        types={m.column: usage[m.column].type for m in meters},
        columns=frozenset(column.name for column in usage.values() if "SELECT" in column.rights),
        rows_by_index=bool(known.server["usage_by_id"]),
        integers=frozenset(m.name for m in meters if usage[m.column].type in INTEGERS),
        binaries=frozenset(m.name for m in meters if usage[m.column].type in BINARIES),
        cost_scale=usage["total_cost"].scale if "total_cost" in usage else None,
        has_clusters=_is_usable(known, needed, "hopsworks_clusters", ("id", "name")),
        has_users=_is_usable(known, needed, "users", ("id",)),
        overrides=None if overrides is None else frozenset(overrides),
        credits=credit_capabilities.find_capabilities(known),
    )


def _is_usable(known: Catalog, needed: list[ColumnRequirement], table: str, columns: tuple[str, ...]) -> bool:
    wanted = [need for need in needed if need.table == table and need.column in columns]
    return bool(wanted) and all(column_checks.check_column(known, need).level == "ok" for need in wanted)


def _check_server(known: Catalog, settings: Settings) -> Iterator[Finding]:
    number, role = known.server["version_number"], known.server["quoted_role"]
    level: Level = "ok" if number >= OLDEST else "refused"
    yield Finding(level, "server", "PostgreSQL 15 or newer", f"PostgreSQL {known.server['version']}")
    if known.server["replica"]:
        remedy = "Give the primary's address (Supabase: the project's own, not a read replica's)"
        yield Finding("unwritable", "server", "a primary", "a read-only replica", "Nothing can be written", remedy)
    elif known.server["read_only"]:
        remedy = "Supabase makes a project read-only when its disk is full: make room, or enlarge the disk"
        found = "default_transaction_read_only = on"
        yield Finding("unwritable", "server", "a server that takes writes", found, "Nothing can be written", remedy)
    for schema, may in (
        (settings.source_schema, known.server["may_use_source"]),
        (settings.rollup_schema, known.server["may_use_schema"] or not known.server["has_schema"]),
    ):
        if not may:
            grant = f"GRANT USAGE ON SCHEMA {sql.Identifier(schema).as_string(None)} TO {role};"
            yield Finding("refused", f"schema {schema}", "the privilege USAGE", "none", "No table can be seen", grant)
    if not known.server["may_stage"]:
        grant = f"GRANT TEMPORARY ON DATABASE {known.server['quoted_database']} TO {role};"
        yield Finding("unwritable", "database", "the privilege TEMPORARY", "none", "Nothing can be staged", grant)

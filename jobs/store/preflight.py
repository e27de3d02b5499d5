"""What the database must be like: one list of findings, which `check` prints and `run` refuses by.

``Source`` says what a run will read: which meters have their column, where total_cost is rounded, which optional
tables exist. The clock and the prices play no part here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobs.model.errors import PreflightError
from jobs.model.meters import Meter
from jobs.settings import Settings
from jobs.store import catalog, credit_source
from jobs.store.catalog import Catalog, Column
from jobs.store.credit_source import INTEGERS, NUMBERS, CreditSource
from jobs.store.database import Connection
from jobs.store.findings import Finding, Level
from jobs.store.schema import APPEND_ONLY, tables

OLDEST = 150000


@dataclass(frozen=True, slots=True)
class Source:
    """What a run reads. ``cost_scale``: the decimals of usage_daily.total_cost, None where it has no limit."""

    meters: tuple[Meter, ...]
    integers: frozenset[str]
    cost_scale: int | None
    has_clusters: bool
    has_users: bool
    overrides: frozenset[str] | None
    credits: CreditSource


def source(connection: Connection, settings: Settings) -> tuple[Source, list[Finding]]:
    """What to read, and every finding; raises nothing but what the connection raises."""
    known = catalog.read(connection, settings, [table.name for table in tables(settings.meters)])
    findings = [
        *_server(known),
        *_usage(known, settings),
        *_optional_tables(known),
        *credit_source.findings(known, settings),
        *_hidden(known),
        *_own_tables(known, settings),
    ]
    usage = known.source.get("usage_daily", {})
    meters = tuple(meter for meter in settings.meters if meter.column in usage)
    return (
        Source(
            meters=meters,
            integers=frozenset(m.name for m in meters if usage[m.column].type in INTEGERS),
            cost_scale=usage["total_cost"].scale if "total_cost" in usage else None,
            has_clusters=_complete(known, "hopsworks_clusters", ("id", "name")),
            has_users=_complete(known, "users", ("id",)),
            overrides=_override_columns(known),
            credits=credit_source.credit_source(known),
        ),
        findings,
    )


def refuse(findings: list[Finding], *, to_write: bool = True) -> None:
    """Raises PreflightError (exit 5) naming everything that stands in the way of a run, or of reading alone."""
    levels = ("refused", "unwritable") if to_write else ("refused",)
    refused = [finding for finding in findings if finding.level in levels]
    if refused:
        raise PreflightError(
            "; ".join(f"{f.subject}: expected {f.expected}; found {f.found}. {f.consequence}" for f in refused)
        )


def _server(known: Catalog) -> Iterator[Finding]:
    version, number = known.server["version"], known.server["version_number"]
    level: Level = "ok" if number >= OLDEST else "refused"
    yield Finding(level, "server", "PostgreSQL 15 or newer", f"PostgreSQL {version}")
    if known.server["replica"]:
        yield Finding("refused", "server", "a primary", "a read-only replica", "Use the primary's address")
    yield Finding("ok" if known.server["tls"] else "note", "TLS", "on", "on" if known.server["tls"] else "off")


def _usage(known: Catalog, settings: Settings) -> Iterator[Finding]:
    usage = known.source.get("usage_daily")
    if not usage:
        others = ", ".join(sorted(known.source)) or "none of the tables"
        yield Finding(
            "refused",
            "usage_daily",
            f"a table in schema {settings.source_schema}",
            f"no such table ({others} found there)",
            "Check the database in the address, and source_schema in the settings",
        )
        return
    for name, types in _NEEDED.items():
        yield _column(usage, name, types)
    if settings.cost == "rated" and "total_cost" in usage and not usage["total_cost"].may_update:
        yield Finding("unwritable", "usage_daily.total_cost", "the privilege UPDATE", "none", RATED)
    if settings.cost == "rated" or credit_source.credit_source(known).shown:
        yield _version(usage, known)
    for meter in settings.meters:
        yield _meter(usage, meter)


def _version(usage: Mapping[str, Column], known: Catalog) -> Finding:
    """Rows are written, so that it must be told which have changed since they were read."""
    subject, version = "usage_daily.xmin", usage.get("xmin")
    if version is None:
        return Finding("refused", subject, "a table, whose rows have versions", "none", "Give the table, not a view")
    if not version.may_read:
        grant = f"GRANT SELECT (xmin) ON usage_daily TO {known.server['role']}"
        return Finding("unwritable", subject, "the privilege SELECT", "none", grant)
    return Finding("ok", subject, "readable", "readable")


_NEEDED = {
    "id": ("uuid",),
    "user_id": ("text", "character varying"),
    "date": ("date",),
    "hopsworks_cluster_id": ("uuid",),
    "total_cost": ("numeric",),
}
RATED = 'cost = "rated" writes this column: GRANT UPDATE (total_cost) ON usage_daily to this role'


def _meter(usage: Mapping[str, Column], meter: Meter) -> Finding:
    named = "" if meter.name == meter.column else f" (meter {meter.name})"
    if meter.optional and meter.column not in usage:
        subject = f"usage_daily.{meter.column} (optional)"
        return Finding("note", subject, "a number", "no such column", "The meter is left out until it appears")
    return _column(usage, meter.column, NUMBERS, named)


def _column(usage: Mapping[str, Column], name: str, types: tuple[str, ...], meter: str = "") -> Finding:
    subject, metered = f"usage_daily.{name}{meter}", types == NUMBERS
    expected = "a number" if metered else " or ".join(types)
    column = usage.get(name)
    if column is None:
        remedy = "Map the meter to its column ([meters.…] column in the settings)" if metered else "Add the column"
        there = f"no such column (there are: {', '.join(sorted(usage.keys() - {'xmin'}))})"
        return Finding("refused", subject, expected, there, remedy)
    if column.type not in types:
        return Finding("refused", subject, expected, column.type, "Its values could not be taken exactly")
    if not column.may_read:
        return Finding("refused", subject, "the privilege SELECT", "none", f"GRANT SELECT ({name}) to this role")
    return Finding("ok", subject, expected, column.type)


def _optional_tables(known: Catalog) -> Iterator[Finding]:
    if not _complete(known, "hopsworks_clusters", ("id", "name")):
        found = "not readable" if "hopsworks_clusters" in known.source else "no such table"
        yield Finding("note", "hopsworks_clusters", "id, name", found, "cluster_name stays null")
    if "user_pricing_overrides" not in known.source:
        yield Finding("note", "user_pricing_overrides", "a table", "no such table", "Nobody has an override")
        return
    missing = _OVERRIDE_COLUMNS - set(known.source["user_pricing_overrides"])
    unreadable = [c.name for c in known.source["user_pricing_overrides"].values() if not c.may_read]
    needed = _OVERRIDE_COLUMNS | {"valid_from", "active"}
    if missing or needed & set(unreadable):
        found = f"missing {sorted(missing)}, not readable {sorted(needed & set(unreadable))}"
        remedy = "Without them customers would be charged list prices"
        yield Finding("refused", "user_pricing_overrides", ", ".join(sorted(_OVERRIDE_COLUMNS)), found, remedy)


_OVERRIDE_COLUMNS = frozenset(
    {"id", "user_id", "resource_type", "override_price", "discount_percentage", "valid_until", "created_at"}
)


def _override_columns(known: Catalog) -> frozenset[str] | None:
    table = known.source.get("user_pricing_overrides")
    return None if table is None else frozenset(table)


def _complete(known: Catalog, table: str, columns: tuple[str, ...]) -> bool:
    held = known.source.get(table, {})
    return all(name in held and held[name].may_read for name in columns)


def _hidden(known: Catalog) -> Iterator[Finding]:
    for table, has_policy in sorted(known.row_security.items()):
        subject = f"{table}, row-level security"
        if has_policy:
            remedy = "Policies decide which rows this role sees: make sure that it is all of them"
            yield Finding("note", subject, "not in force", "in force, with a policy", remedy)
            continue
        needed = table not in ("hopsworks_clusters", "users") or (
            table == "users" and "billing_mode" in known.source[table]
        )
        found = f"in force for role {known.server['role']}, and no policy lets it read"
        remedy = f"Every row is hidden: give the role BYPASSRLS, or CREATE POLICY … ON {table} FOR SELECT"
        yield Finding("refused" if needed else "note", subject, "rows to be visible", found, remedy)


def _own_tables(known: Catalog, settings: Settings) -> Iterator[Finding]:
    if known.server["has_schema"] and not known.server["may_use_schema"]:
        remedy = f"GRANT USAGE ON SCHEMA {settings.rollup_schema} TO {known.server['role']}"
        yield Finding("refused", f"schema {settings.rollup_schema}", "the privilege USAGE", "none", remedy)
    for table in tables(settings.meters):
        held = known.own.get(table.name, {})
        missing = [name for name in table.columns if name not in held]
        subject = f"{settings.rollup_schema}.{table.name}"
        if missing:
            found = f"without {', '.join(missing)}" if held else "no such table"
            yield Finding("refused", subject, "the job's own table", found, "Run: usage-jobs schema --apply")
        elif not all(column.may_read for column in held.values()):
            yield Finding("refused", subject, "the privilege SELECT", "none", f"GRANT SELECT ON {subject} to this role")
        elif table.name in _WRITTEN and not all(c.may_update and c.may_replace for c in held.values()):
            grant = f"GRANT INSERT, UPDATE, DELETE ON {subject} TO {known.server['role']}"
            yield Finding("unwritable", subject, "INSERT, UPDATE and DELETE", "not all of them", grant)
        elif table.name in APPEND_ONLY and not all(column.may_insert for column in held.values()):
            grant = f"GRANT INSERT ON {subject} TO {known.server['role']}"
            yield Finding("unwritable", subject, "the privilege INSERT", "none", grant)
        else:
            yield Finding("ok", subject, "the job's own table", f"{len(held)} columns")


_WRITTEN = ("user_monthly", "cluster_daily", "cluster_monthly", "months", "rejects", "runs")

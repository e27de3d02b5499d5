"""What the job needs of the database: columns of the application's tables, and privileges. Checks of columns and of
privileges, also by row-level security, and the grants of a role follow from this list.

An optional table or column may be missing; one that exists is used, and so must have the right type and privileges.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs.domain.tables import APPEND_ONLY, USAGE_COLUMNS
from jobs.postgres.catalog import BINARIES, ENUM, NUMBERS, Catalog, read_catalog
from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import find_capabilities
from jobs.postgres.side_effects import Effect, Rights, find_effects
from jobs.settings import Settings

TEXT = ("text", "character varying")
LABEL = (*TEXT, ENUM)
MOMENTS = ("timestamp with time zone", "timestamp without time zone", "date")
QUANTITIES = (*NUMBERS, *BINARIES)
ANY: tuple[str, ...] = ()
READ: tuple[str, ...] = ("SELECT",)
READ_UPDATE = (*READ, "UPDATE")
POST = ("INSERT", *READ)
Types = Mapping[str, tuple[str, ...]]


class OptionalTable(NamedTuple):
    """What follows where a table is missing: ``consequence``; if ``fact`` shows that runs have used it, ``loss``."""

    consequence: str
    fact: str = ""
    loss: str = ""
    remedy: str = ""


OPTIONAL_TABLES = {
    "hopsworks_clusters": OptionalTable("cluster_name stays null"),
    "users": OptionalTable("The last known billing mode of a user stays valid; other users count as postpaid"),
    "user_pricing_overrides": OptionalTable(
        "No user has an override",
        "overridden",
        "Users with overrides in open months would be charged list prices",
        "Restore it (an empty table of this name says that no user has an override)",
    ),
    "user_credits": OptionalTable(
        "Nothing is drawn: prepaid usage is uncovered",
        "drawn",
        "Draws in the ledger could not be corrected",
        "Restore it: it holds the accounts that rollup.credit_draws has drawn on",
    ),
    "credit_transactions": OptionalTable("Draws are posted to the ledger only"),
}
TRANSACTION_COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "id": (ANY, READ),
    "user_id": (TEXT, POST),
    "type": (LABEL, POST),
    **dict.fromkeys(("amount", "balance_before", "balance_after"), (NUMBERS, POST)),
    "description": (TEXT, ("INSERT",)),
    "created_at": (("timestamp with time zone",), POST),
    "metadata": (("jsonb",), POST),
}
"""Columns of credit_transactions: accepted types, and privileges."""
OVERRIDE_COLUMNS: Types = {
    "id": ANY,
    "user_id": TEXT,
    "resource_type": LABEL,
    **dict.fromkeys(("override_price", "discount_percentage"), NUMBERS),
    **dict.fromkeys(("valid_until", "created_at"), MOMENTS),
}
OVERRIDE_VARIANTS: Types = {"valid_from": MOMENTS, "active": ("boolean",)}
"""Columns of user_pricing_overrides: one of the variants is enough. Without both an override would apply for ever."""


@dataclass(frozen=True, slots=True)
class ColumnNeed:
    """A column that the job uses.

    - ``types``: accepted types (none: any)
    - ``rights``: the privileges that the job needs
    - ``consequence``: the consequence where the column is missing; None: the job cannot run
    - ``is_dispensable``: the same consequence, not an error, where its type or privileges are wrong
    - ``meter``: the meter that it belongs to
    - ``remedy``: what to do where it is missing
    """

    table: str
    column: str
    types: tuple[str, ...]
    rights: tuple[str, ...] = READ
    consequence: str | None = None
    is_dispensable: bool = False
    meter: str = ""
    remedy: str = "Add the column"

    @property
    def expected(self) -> str:
        return "a number" if self.types in (NUMBERS, QUANTITIES) else " or ".join(self.types) or "any type"


@dataclass(frozen=True, slots=True)
class Needs:
    """The catalog of a database, and what the job needs there.

    - ``columns``: the columns of the application that it uses
    - ``rights``: the privileges that it needs on existing tables of the application and of its own
    - ``effects``: the side effects of its writes
    """

    catalog: Catalog
    columns: list[ColumnNeed]
    rights: Rights
    effects: list[Effect]


def read_needs(connection: Connection, settings: Settings) -> Needs:
    """Reads the catalog, and what the job needs there. Needs an open transaction."""
    catalog = read_catalog(connection, settings)
    columns = list(_column_needs(catalog, settings))
    rights: dict[tuple[str, str], dict[str, list[str]]] = {}
    for need in columns:
        for right in need.rights if need.column in catalog.source.get(need.table, {}) else ():
            names = rights.setdefault((settings.source_schema, need.table), {}).setdefault(right, [])
            names += [need.column] if need.column not in names else []
    rights |= {(settings.rollup_schema, table): {right: [] for right in own_rights(table)} for table in catalog.own}
    return Needs(catalog, columns, rights, find_effects(connection, settings, rights))


def own_rights(table: str) -> tuple[str, ...]:
    """Returns the privileges that the job needs on one of its own tables."""
    if table in APPEND_ONLY:
        return (*READ, "INSERT")
    if table in ("months", "runs", "overrides_seen"):
        return (*READ, "INSERT", "UPDATE")
    return (*READ, "INSERT", "DELETE") if table == "touched_days" else (*READ, "INSERT", "UPDATE", "DELETE")


def _column_needs(catalog: Catalog, settings: Settings) -> Iterator[ColumnNeed]:
    """Yields the needed columns of usage_daily and of all other application tables that exist."""
    yield from _usage(catalog, settings)
    if "hopsworks_clusters" in catalog.source:
        consequence, columns = OPTIONAL_TABLES["hopsworks_clusters"].consequence, {"id": ("uuid",), "name": TEXT}
        yield from _needs_of_table("hopsworks_clusters", columns, consequence=consequence, is_dispensable=True)
    if users := catalog.source.get("users"):
        consequence, has_modes = OPTIONAL_TABLES["users"].consequence, "billing_mode" in users
        missing: dict[str, Any] = {} if has_modes else {"consequence": consequence, "is_dispensable": True}
        yield ColumnNeed("users", "id", (*TEXT, "uuid"), **missing)
        yield ColumnNeed("users", "billing_mode", LABEL, consequence=consequence)
    if settings.credits.feature_flag is not None:
        yield ColumnNeed("users", "feature_flags", ("jsonb",), remedy="credits.feature_flag needs it: add it")
    if overrides := catalog.source.get("user_pricing_overrides"):
        present = {name: types for name, types in OVERRIDE_VARIANTS.items() if name in overrides}
        remedy = "Without it customers would be charged list prices: add it"
        yield from _needs_of_table(
            "user_pricing_overrides", {**OVERRIDE_COLUMNS, **(present or OVERRIDE_VARIANTS)}, remedy=remedy
        )
    if "user_credits" in catalog.source:
        yield from _credits(catalog)


def _needs_of_table(table: str, columns: Types, **options: Any) -> Iterator[ColumnNeed]:
    """Yields needs for columns of one table that differ only in their types."""
    yield from (ColumnNeed(table, name, types, **options) for name, types in columns.items())


def _usage(catalog: Catalog, settings: Settings) -> Iterator[ColumnNeed]:
    usage, credits = "usage_daily", find_capabilities(catalog)
    accepted = {"uuid": ("uuid",), "text": TEXT, "date": ("date",)}
    yield from _needs_of_table(usage, {column: accepted[kind] for column, kind in USAGE_COLUMNS.values()})
    is_rated = settings.cost == "rated" or "rated" in catalog.facts
    yield ColumnNeed(usage, "total_cost", ("numeric",), READ_UPDATE if is_rated else READ)
    for meter in settings.meters:
        consequence = "The meter is left out until it appears" if meter.optional else None
        remedy = "" if meter.optional else "Map the meter to its column ([meters.…] column in the settings)"
        yield from _needs_of_table(
            usage, {meter.column: QUANTITIES}, consequence=consequence, meter=meter.name, remedy=remedy
        )
    if credits.has_accounts or credits.has_deducted:
        rights, consequence = READ_UPDATE if credits.writes_deducted else READ, "Draws are stored in the ledger only"
        yield ColumnNeed(usage, "credits_deducted", NUMBERS, rights, consequence)
    remedy = "Restore it (an empty boolean column says that nothing was reported)"
    missing = _where_missing(catalog, "reported", "No row counts as reported elsewhere", remedy)
    yield ColumnNeed(usage, "reported_to_stripe", ("boolean",), **missing)


def _where_missing(catalog: Catalog, fact: str, consequence: str, remedy: str) -> dict[str, Any]:
    """Returns options for a column: where it is missing, ``consequence`` follows; or, if ``fact`` shows that runs have
    used it, the job cannot run without the ``remedy``."""
    return {"remedy": remedy} if fact in catalog.facts else {"consequence": consequence, "remedy": ""}


def _credits(catalog: Catalog) -> Iterator[ColumnNeed]:
    """Yields needs for accounts, and for transactions: without accounts nothing is drawn, so nothing is posted."""
    accounts = "user_credits"
    yield from _needs_of_table(accounts, {"user_id": TEXT, "total_purchased": NUMBERS})
    yield ColumnNeed(accounts, "total_used", NUMBERS, READ_UPDATE)
    remedy = "rollup.credit_draws has free credits: put the column back"
    missing = _where_missing(catalog, "drawn_free", "No free credits", remedy)
    yield ColumnNeed(accounts, "free_credits_granted", NUMBERS, READ, **missing)
    remedy = (
        "Accounts have used less than was drawn on them: put the column back, in which free credits used were counted; "
        "or, where an older copy of user_credits or of rollup was restored, restore both as of the same moment"
    )
    missing = _where_missing(catalog, "used_less", "total_used then counts both kinds", remedy)
    yield ColumnNeed(accounts, "free_credits_used", NUMBERS, READ_UPDATE, **missing)
    if "credit_transactions" in catalog.source:
        for name, (types, rights) in TRANSACTION_COLUMNS.items():
            yield ColumnNeed("credit_transactions", name, types, rights, remedy="Add the column, or drop the table")

"""The columns of the application's tables that the job uses: the list for column checks, privileges and grants.

An optional table or column may be missing; one that exists is used, and so must have the right type and privileges.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.domain.tables import APPEND_ONLY, USAGE_COLUMNS
from jobs.postgres.catalog import BINARIES, ENUM, NUMBERS, Catalog
from jobs.postgres.credit_capabilities import find_capabilities
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

OPTIONAL_TABLES = {
    "hopsworks_clusters": "cluster_name stays null",
    "users": "The last known billing mode of a user stays valid; other users count as postpaid",
    "user_pricing_overrides": "No user has an override",
    "user_credits": "Nothing is drawn: prepaid usage is uncovered",
    "credit_transactions": "Draws are posted to the ledger only",
}
"""Optional tables, and the consequence where one is missing."""
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
    "override_price": NUMBERS,
    "discount_percentage": NUMBERS,
    "valid_until": MOMENTS,
    "created_at": MOMENTS,
}
OVERRIDE_VARIANTS: Types = {"valid_from": MOMENTS, "active": ("boolean",)}
"""Columns of user_pricing_overrides: one of the variants is enough. Without both an override would apply for ever."""
FREE_CREDITS: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "free_credits_granted": (
        READ,
        "No free credits",
        "drawn_free",
        "rollup.credit_draws has free credits: put the column back",
    ),
    "free_credits_used": (
        READ_UPDATE,
        "total_used then counts both kinds",
        "used_less",
        "Accounts have used less than was drawn on them: put the column back, in which free credits used were counted; "
        "or, where an older copy of user_credits or of rollup was restored, restore both as of the same moment",
    ),
}
"""Columns of user_credits: privileges, and what follows where the column is missing; the fact that shows that free
credits would then be granted again, and the remedy for that."""
OWN_RIGHTS = (
    dict.fromkeys(APPEND_ONLY, (*READ, "INSERT"))
    | dict.fromkeys(("months", "runs", "overrides_seen"), (*READ, "INSERT", "UPDATE"))
    | {"touched_days": (*READ, "INSERT", "DELETE")}
)


@dataclass(frozen=True, slots=True)
class ColumnRequirement:
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


def own_rights(table: str) -> tuple[str, ...]:
    """Returns the privileges that the job needs on one of its own tables."""
    return OWN_RIGHTS.get(table, (*READ, "INSERT", "UPDATE", "DELETE"))


def column_requirements(catalog: Catalog, settings: Settings) -> Iterator[ColumnRequirement]:
    """Yields the requirements on columns of usage_daily and of all other application tables that exist."""
    yield from _usage(catalog, settings)
    if "hopsworks_clusters" in catalog.source:
        consequence = OPTIONAL_TABLES["hopsworks_clusters"]
        yield from _same(
            "hopsworks_clusters", {"id": ("uuid",), "name": TEXT}, consequence=consequence, is_dispensable=True
        )
    if users := catalog.source.get("users"):
        consequence, is_dispensable = OPTIONAL_TABLES["users"], "billing_mode" not in users
        yield ColumnRequirement(
            "users",
            "id",
            (*TEXT, "uuid"),
            consequence=consequence if is_dispensable else None,
            is_dispensable=is_dispensable,
        )
        yield ColumnRequirement("users", "billing_mode", LABEL, consequence=consequence)
    if settings.credits.feature_flag is not None:
        yield ColumnRequirement("users", "feature_flags", ("jsonb",), remedy="credits.feature_flag needs it: add it")
    if overrides := catalog.source.get("user_pricing_overrides"):
        present = {name: types for name, types in OVERRIDE_VARIANTS.items() if name in overrides}
        remedy = "Without it customers would be charged list prices: add it"
        yield from _same(
            "user_pricing_overrides", {**OVERRIDE_COLUMNS, **(present or OVERRIDE_VARIANTS)}, remedy=remedy
        )
    if "user_credits" in catalog.source:
        yield from _credits(catalog)


def _same(table: str, columns: Types, **options: Any) -> Iterator[ColumnRequirement]:
    """Yields requirements on columns of one table that differ only in their types."""
    yield from (ColumnRequirement(table, name, types, **options) for name, types in columns.items())


def _usage(catalog: Catalog, settings: Settings) -> Iterator[ColumnRequirement]:
    usage, credits = "usage_daily", find_capabilities(catalog)
    accepted = {"uuid": ("uuid",), "text": TEXT, "date": ("date",)}
    yield from _same(usage, {column: accepted[kind] for column, kind in USAGE_COLUMNS.values()})
    is_rated = settings.cost == "rated" or "rated" in catalog.facts
    yield ColumnRequirement(usage, "total_cost", ("numeric",), READ_UPDATE if is_rated else READ)
    for meter in settings.meters:
        consequence = "The meter is left out until it appears" if meter.optional else None
        remedy = "" if meter.optional else "Map the meter to its column ([meters.…] column in the settings)"
        yield ColumnRequirement(
            usage, meter.column, QUANTITIES, consequence=consequence, meter=meter.name, remedy=remedy
        )
    if credits.has_accounts or credits.has_deducted:
        rights = READ_UPDATE if credits.writes_deducted else READ
        yield ColumnRequirement(
            usage, "credits_deducted", NUMBERS, rights, consequence="Draws are stored in the ledger only"
        )
    is_lost = "reported" in catalog.facts and not credits.has_reported
    remedy = "Restore it (an empty boolean column says that nothing was reported)" if is_lost else ""
    consequence = None if is_lost else "No row counts as reported elsewhere"
    yield ColumnRequirement(usage, "reported_to_stripe", ("boolean",), consequence=consequence, remedy=remedy)


def _credits(catalog: Catalog) -> Iterator[ColumnRequirement]:
    """Yields requirements on accounts, and on transactions: without accounts nothing is drawn, so nothing is posted."""
    yield from _same("user_credits", {"user_id": TEXT, "total_purchased": NUMBERS})
    yield ColumnRequirement("user_credits", "total_used", NUMBERS, READ_UPDATE)
    for name, (rights, consequence, fact, remedy) in FREE_CREDITS.items():
        missing: dict[str, Any] = {"remedy": remedy} if fact in catalog.facts else {"consequence": consequence}
        yield ColumnRequirement("user_credits", name, NUMBERS, rights, **missing)
    if "credit_transactions" in catalog.source:
        remedy = "Add the column, or drop the table"
        for name, (types, rights) in TRANSACTION_COLUMNS.items():
            yield ColumnRequirement("credit_transactions", name, types, rights, remedy=remedy)

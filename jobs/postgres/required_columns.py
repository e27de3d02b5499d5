"""What the job does with each column of the application's tables: the one list behind drift, privileges and grants.

A table or column that is missing where it may be is left out; one that is there is used, so that it must be right.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jobs.domain.meters import Meter
from jobs.postgres.catalog import ENUM, Catalog
from jobs.postgres.credit_capabilities import ACCOUNT, BINARIES, FREE, NUMBERS, find_capabilities
from jobs.postgres.schema import APPEND_ONLY
from jobs.settings import Settings

TEXT = ("text", "character varying")
LABEL = (*TEXT, ENUM)
MOMENTS = ("timestamp with time zone", "timestamp without time zone", "date")
READ: tuple[str, ...] = ("SELECT",)
ANY: tuple[str, ...] = ()

TABLES = {
    "hopsworks_clusters": "cluster_name stays null",
    "users": "How users paid last holds; others count as postpaid",
    "user_pricing_overrides": "Nobody has an override",
    "user_credits": "Nothing is drawn: prepaid usage is uncovered",
    "credit_transactions": "The ledger alone is kept",
}
"""Tables that the job can do without, and what follows."""

TRANSACTION: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "id": (ANY, READ),
    "user_id": (TEXT, ("INSERT", "SELECT")),
    "type": (LABEL, ("INSERT", "SELECT")),
    "amount": (NUMBERS, ("INSERT", "SELECT")),
    "balance_before": (NUMBERS, ("INSERT", "SELECT")),
    "balance_after": (NUMBERS, ("INSERT", "SELECT")),
    "description": (TEXT, ("INSERT",)),
    "created_at": (("timestamp with time zone",), ("INSERT", "SELECT")),
    "metadata": (("jsonb",), ("INSERT", "SELECT")),
}

LOST = {
    "free_credits_granted": ("drawn_free", "rollup.credit_draws has free credits: put the column back"),
    "free_credits_used": (
        "used_less",
        "Accounts have used less than was drawn on them: put the column back, in which free credits used were counted; "
        "or, where an older copy of user_credits or of rollup was restored, restore both as of the same moment",
    ),
}
"""Columns of user_credits without which free credits would be given again: how that is known, and what to do."""

OWN_RIGHTS = (
    dict.fromkeys(APPEND_ONLY, ("SELECT", "INSERT"))
    | dict.fromkeys(("months", "runs", "overrides_seen"), ("SELECT", "INSERT", "UPDATE"))
    | {"touched_days": ("SELECT", "INSERT", "DELETE")}
    | {"corrections": ("INSERT",)}  # kept for people: no run reads them
)
EVERY_RIGHT = ("SELECT", "INSERT", "UPDATE", "DELETE")
QUANTITIES = (*NUMBERS, *BINARIES)


@dataclass(frozen=True, slots=True)
class ColumnRequirement:
    """A column and what is done with it. ``types``: those that are taken exactly (none: any); ``lack``: what follows
    where it is missing (None: nothing works); ``spare``: the same follows where anything else is wrong with it."""

    table: str
    column: str
    types: tuple[str, ...]
    rights: tuple[str, ...] = READ
    lack: str | None = None
    spare: bool = False
    meter: str = ""
    remedy: str = "Add the column"

    @property
    def expected(self) -> str:
        return "a number" if self.types in (NUMBERS, QUANTITIES) else " or ".join(self.types) or "any type"


def own_rights(table: str) -> tuple[str, ...]:
    """What the job does with the rows of one of its own tables."""
    return OWN_RIGHTS.get(table, EVERY_RIGHT)


def column_requirements(known: Catalog, settings: Settings) -> Iterator[ColumnRequirement]:
    """Every need of the columns of the application's tables that exist, and those of usage_daily and feature_flags."""
    yield from _usage(known, settings)
    if "hopsworks_clusters" in known.source:
        for name, types in {"id": ("uuid",), "name": TEXT}.items():
            yield ColumnRequirement("hopsworks_clusters", name, types, lack=TABLES["hopsworks_clusters"], spare=True)
    yield from _users(known, settings)
    yield from _overrides(known)
    yield from _credits(known)


def _usage(known: Catalog, settings: Settings) -> Iterator[ColumnRequirement]:
    usage, credits = "usage_daily", find_capabilities(known)
    rated = settings.cost == "rated" or "rated" in known.facts
    for name, types in {"id": ("uuid",), "user_id": TEXT, "date": ("date",), "hopsworks_cluster_id": ("uuid",)}.items():
        yield ColumnRequirement(usage, name, types)
    yield ColumnRequirement(usage, "total_cost", ("numeric",), (*READ, "UPDATE") if rated else READ)
    for meter in settings.meters:
        yield _meter(meter)
    if credits.account is not None or credits.deducted:
        rights = (*READ, "UPDATE") if credits.shown else READ
        yield ColumnRequirement(usage, "credits_deducted", NUMBERS, rights, lack="Draws stand in the ledger alone")
    lost = "reported" in known.facts and not credits.reported
    remedy = "Restore it (an empty boolean column says that nothing was reported)" if lost else ""
    lack = None if lost else "No row counts as reported elsewhere"
    yield ColumnRequirement(usage, "reported_to_stripe", ("boolean",), lack=lack, remedy=remedy)


def _meter(meter: Meter) -> ColumnRequirement:
    lack = "The meter is left out until it appears" if meter.optional else None
    remedy = "" if meter.optional else "Map the meter to its column ([meters.…] column in the settings)"
    return ColumnRequirement("usage_daily", meter.column, QUANTITIES, lack=lack, meter=meter.name, remedy=remedy)


def _users(known: Catalog, settings: Settings) -> Iterator[ColumnRequirement]:
    columns, flag = known.source.get("users"), settings.credits.feature_flag
    if columns is not None:
        has_modes = "billing_mode" in columns
        yield ColumnRequirement(
            "users", "id", (*TEXT, "uuid"), lack=None if has_modes else TABLES["users"], spare=not has_modes
        )
        yield ColumnRequirement("users", "billing_mode", LABEL, lack=TABLES["users"])
    if flag is not None:
        yield ColumnRequirement("users", "feature_flags", ("jsonb",), remedy="credits.feature_flag needs it: add it")


def _overrides(known: Catalog) -> Iterator[ColumnRequirement]:
    table = "user_pricing_overrides"
    columns = known.source.get(table)
    if columns is None:
        return
    wanted: dict[str, tuple[str, ...]] = {
        "id": ANY,
        "user_id": TEXT,
        "resource_type": LABEL,
        "override_price": NUMBERS,
        "discount_percentage": NUMBERS,
        "valid_until": MOMENTS,
        "created_at": MOMENTS,
    }
    variants: dict[str, tuple[str, ...]] = {"valid_from": MOMENTS, "active": ("boolean",)}
    present = {name: kinds for name, kinds in variants.items() if name in columns}
    # With neither it would hold for ever, ended or not.
    for name, types in (wanted | (present or variants)).items():
        yield ColumnRequirement(table, name, types, remedy="Without it customers would be charged list prices: add it")


def _credits(known: Catalog) -> Iterator[ColumnRequirement]:
    if "user_credits" in known.source:
        yield ColumnRequirement("user_credits", "user_id", TEXT)
        for name in ACCOUNT:
            yield ColumnRequirement("user_credits", name, NUMBERS, (*READ, "UPDATE") if name == "total_used" else READ)
        free = dict(zip(FREE, ("No free credits", "total_used then counts both kinds"), strict=True))
        for name, lack in free.items():
            rights = (*READ, "UPDATE") if name == "free_credits_used" else READ
            fact, why = LOST[name]
            if fact in known.facts:
                yield ColumnRequirement("user_credits", name, NUMBERS, rights, remedy=why)
            else:
                yield ColumnRequirement("user_credits", name, NUMBERS, rights, lack=lack)
    # Without accounts nothing is drawn, and so nothing posted.
    if "credit_transactions" in known.source and "user_credits" in known.source:
        for name, (types, rights) in TRANSACTION.items():
            yield ColumnRequirement(
                "credit_transactions", name, types, rights, remedy="Add the column, or drop the table"
            )

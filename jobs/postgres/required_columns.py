"""The columns of the application's tables that the job uses: the list for column checks, privileges and grants.

An optional table or column may be missing; one that exists is used, and so must have the right type and privileges.
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
    "users": "The last known billing mode of a user stays valid; other users count as postpaid",
    "user_pricing_overrides": "No user has an override",
    "user_credits": "Nothing is drawn: prepaid usage is uncovered",
    "credit_transactions": "Draws are posted to the ledger only",
}
"""Optional tables, and the consequence where one is missing."""

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
"""Columns of user_credits without which free credits would be granted again: the fact that shows it, and the remedy."""

OWN_RIGHTS = (
    dict.fromkeys(APPEND_ONLY, ("SELECT", "INSERT"))
    | dict.fromkeys(("months", "runs", "overrides_seen"), ("SELECT", "INSERT", "UPDATE"))
    | {"touched_days": ("SELECT", "INSERT", "DELETE")}
    | {"corrections": ("INSERT",)}  # for people: no run reads them
)
EVERY_RIGHT = ("SELECT", "INSERT", "UPDATE", "DELETE")
QUANTITIES = (*NUMBERS, *BINARIES)


@dataclass(frozen=True, slots=True)
class ColumnRequirement:
    """A column that the job uses.

    - ``types``: accepted types (none: any)
    - ``rights``: the privileges that the job needs
    - ``lack``: the consequence where the column is missing; None: the job cannot run
    - ``spare``: the same consequence, not an error, where its type or privileges are wrong
    - ``meter``: the meter that it belongs to
    - ``remedy``: what to do where it is missing
    """

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
    """Returns the privileges that the job needs on one of its own tables."""
    return OWN_RIGHTS.get(table, EVERY_RIGHT)


def column_requirements(known: Catalog, settings: Settings) -> Iterator[ColumnRequirement]:
    """Yields the requirements on columns of usage_daily and of all other application tables that exist."""
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
    if credits.account is not None or credits.has_deducted:
        rights = (*READ, "UPDATE") if credits.writes_deducted else READ
        yield ColumnRequirement(usage, "credits_deducted", NUMBERS, rights, lack="Draws are stored in the ledger only")
    lost = "reported" in known.facts and not credits.has_reported
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
    # With neither column an override would apply for ever, ended or not.
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
    # Without accounts nothing is drawn, so nothing is posted.
    if "credit_transactions" in known.source and "user_credits" in known.source:
        for name, (types, rights) in TRANSACTION.items():
            yield ColumnRequirement(
                "credit_transactions", name, types, rights, remedy="Add the column, or drop the table"
            )

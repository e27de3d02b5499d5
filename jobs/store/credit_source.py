"""What the database holds of prepaid credits, in any of its shapes, and what each lack means (DESIGN section 4).

Only two things are needed to draw: accounts (user_credits) and how users pay (users.billing_mode). The rest is kept
where it is: usage_daily.credits_deducted, credit_transactions, free credits counted apart from purchased ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from jobs.settings import Settings
from jobs.store.catalog import Catalog, Column
from jobs.store.findings import Finding

INTEGERS = ("smallint", "integer", "bigint")
NUMBERS = ("numeric", *INTEGERS)
ACCOUNT = ("total_purchased", "total_used")
FREE = ("free_credits_granted", "free_credits_used")
TRANSACTION = ("user_id", "type", "amount", "balance_before", "balance_after", "description", "created_at", "metadata")
# The ledger keeps no decimals that one of these would round away.
SCALED = {
    "credit_transactions": ("amount", "balance_before", "balance_after"),
    "usage_daily": ("credits_deducted",),
    "user_credits": ("total_used", "free_credits_used", "total_purchased"),
}


@dataclass(frozen=True, slots=True)
class CreditSource:
    """``account``: the amounts of user_credits, None where there is no such table; ``transactions``, ``deducted``,
    ``reported``, ``modes``: whether these exist; ``scale``: the smallest declared one, None where none is."""

    account: frozenset[str] | None
    transactions: bool
    deducted: bool
    reported: bool
    modes: bool
    scale: int | None

    @property
    def shown(self) -> bool:
        """Whether credits_deducted is ours to write. Without accounts it is not: what stands there is another's."""
        return self.deducted and self.account is not None

    @property
    def splits(self) -> bool:
        """Whether free credits used are counted apart."""
        return self.account is not None and "free_credits_used" in self.account


def credit_source(known: Catalog) -> CreditSource:
    """What is there to read and to write."""
    tables = known.source
    account = tables.get("user_credits")
    usage = tables.get("usage_daily", {})
    return CreditSource(
        account=None if account is None else frozenset(name for name in (*ACCOUNT, *FREE) if name in account),
        transactions="credit_transactions" in tables,
        deducted="credits_deducted" in usage,
        reported="reported_to_stripe" in usage,
        modes="billing_mode" in tables.get("users", {}),
        scale=_scale(tables),
    )


def _scale(tables: Mapping[str, Mapping[str, Column]]) -> int | None:
    declared = []
    for table, names in SCALED.items():
        for column in (tables[table][name] for name in names if name in tables.get(table, {})):
            if column.type in INTEGERS:
                declared.append(0)
            elif column.scale is not None:
                declared.append(column.scale)
    return min(declared, default=None)


def findings(known: Catalog, settings: Settings) -> Iterator[Finding]:
    """Everything about credits that a run would trip over, or leave out."""
    yield from _modes(known, settings)
    account = known.source.get("user_credits")
    if account is None:
        yield Finding(
            "note", "user_credits", "a table", "no such table", "Nothing is drawn: prepaid usage is uncovered"
        )
        return
    for name, wanted in {"user_id": ("text", "character varying"), **dict.fromkeys(ACCOUNT, NUMBERS)}.items():
        yield _column("user_credits", account, name, wanted, written=name == "total_used")
    for name in FREE:
        if name in account:
            yield _column("user_credits", account, name, NUMBERS, written=name == "free_credits_used")
        else:
            lack = "No free credits" if name == "free_credits_granted" else "total_used then counts both kinds"
            yield Finding("note", f"user_credits.{name}", "a number", "no such column", lack)
    yield from _on_usage(known.source.get("usage_daily", {}))
    yield from _transactions(known)


def _modes(known: Catalog, settings: Settings) -> Iterator[Finding]:
    users = known.source.get("users", {})
    if "billing_mode" not in users:
        found = "no such column" if users else "no such table"
        yield Finding("note", "users.billing_mode", "text", found, "Everybody counts as postpaid")
    else:
        yield _column("users", users, "id", ("text", "character varying", "uuid"))
        kind = users["billing_mode"].type  # text, or an enum of the application's
        yield _column("users", users, "billing_mode", (kind,))
    if settings.credits.feature_flag is not None:
        yield _column("users", users, "feature_flags", ("jsonb",), remedy="credits.feature_flag needs it: add it")


def _on_usage(usage: Mapping[str, Column]) -> Iterator[Finding]:
    if "credits_deducted" in usage:
        yield _column("usage_daily", usage, "credits_deducted", NUMBERS, written=True)
    else:
        lack = "Draws stand in the ledger alone"
        yield Finding("note", "usage_daily.credits_deducted", "a number", "no such column", lack)
    if "reported_to_stripe" in usage:
        yield _column("usage_daily", usage, "reported_to_stripe", ("boolean",))


def _transactions(known: Catalog) -> Iterator[Finding]:
    table = known.source.get("credit_transactions")
    if table is None:
        yield Finding("note", "credit_transactions", "a table", "no such table", "The ledger alone is kept")
        return
    missing = [name for name in TRANSACTION if name not in table]
    denied = [name for name in TRANSACTION if name in table and not table[name].may_insert]
    subject, wanted = "credit_transactions", ", ".join(TRANSACTION)
    if missing:
        yield Finding("refused", subject, wanted, f"without {', '.join(missing)}", "Add the columns, or drop the table")
    elif denied:
        grant = f"GRANT INSERT ({', '.join(TRANSACTION)}) ON credit_transactions TO {known.server['role']}"
        yield Finding("unwritable", subject, "the privilege INSERT", f"none on {', '.join(denied)}", grant)
    else:
        yield Finding("ok", subject, "the billing page's history", f"{len(table)} columns")


def _column(
    table: str,
    held: Mapping[str, Column],
    name: str,
    types: tuple[str, ...],
    *,
    written: bool = False,
    remedy: str = "",
) -> Finding:
    subject = f"{table}.{name}"
    expected = "a number" if types == NUMBERS else " or ".join(types)
    column = held.get(name)
    if column is None:
        found = f"no such column (there are: {', '.join(sorted(held))})"
        return Finding("refused", subject, expected, found, remedy or "Add the column, or drop the table")
    if column.type not in types:
        return Finding("refused", subject, expected, column.type, "Its values could not be taken exactly")
    if not column.may_read:
        return Finding(
            "refused", subject, "the privilege SELECT", "none", f"GRANT SELECT ({name}) ON {table} to this role"
        )
    if written and not column.may_update:
        grant = f"GRANT UPDATE ({name}) ON {table} to this role"
        return Finding("unwritable", subject, "the privilege UPDATE", "none", grant)
    return Finding("ok", subject, expected, column.type)

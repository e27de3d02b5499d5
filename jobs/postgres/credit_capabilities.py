"""What the database holds of prepaid credits, in any of its shapes (DESIGN section 4).

Only two things are needed to draw: accounts (user_credits) and how users pay (users.billing_mode). The rest is kept
where it is: usage_daily.credits_deducted, credit_transactions, free credits counted apart from purchased ones.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.fixed_point import MOST_DIGITS, PLACES
from jobs.postgres.catalog import Catalog, Column
from jobs.postgres.connections import Connection
from jobs.postgres.sql_loader import app_table, compose, in_spans, job_table
from jobs.settings import Settings

COLUMNS = {
    "granted": "free_credits_granted",
    "bought": "total_purchased",
    "free_used": "free_credits_used",
    "used": "total_used",
}
"""The amounts of an account, by their name in frames (schemas.ACCOUNTS)."""
INTEGERS = ("smallint", "integer", "bigint")
BINARIES = ("double precision", "real")
NUMBERS = ("numeric", *INTEGERS)
ACCOUNT = ("total_purchased", "total_used")
FREE = ("free_credits_granted", "free_credits_used")
# The ledger keeps no decimals that one of these would round away.
SCALED = {
    "credit_transactions": ("amount", "balance_before", "balance_after"),
    "usage_daily": ("credits_deducted",),
    "user_credits": ("total_used", "free_credits_used", "total_purchased"),
}


@dataclass(frozen=True, slots=True)
class CreditCapabilities:
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

    def amount(self, column: str, of: str = "") -> sql.Composed:
        """An amount of user_credits (of the alias ``of``) as SQL; 0 where there is no such column."""
        if self.account is None or column not in self.account:
            return sql.SQL("0::numeric").format()
        return sql.SQL("coalesce({}, 0)::numeric").format(sql.Identifier(*([of] if of else []), column))

    def used(self, of: str = "a") -> tuple[sql.Composed, sql.Composed]:
        """Free and purchased credits used, as SQL: where one figure counts both kinds, free credits are used first."""
        used, granted = self.amount("total_used", of), self.amount("free_credits_granted", of)
        if self.splits:
            return self.amount("free_credits_used", of), used
        free = sql.SQL("least({}, {})").format(granted, used)
        return free, sql.SQL("({} - {})").format(used, free)

    def balance(self, of: str = "a") -> sql.Composed:
        """What an account could spend, as SQL."""
        parts = {name: self.amount(column, of) for name, column in COLUMNS.items()}
        return sql.SQL("({bought} + {granted} - {used} - {free_used})").format(**parts)

    def usable(self, of: str = "a") -> sql.Composed:
        """The condition that all amounts of an account are numbers, and not too large for ours: NaN and Infinity
        compare as greater than any number."""
        amounts = [self.amount(column, of) for column in COLUMNS.values()]
        numbers = [sql.SQL("abs({}) < {}").format(amount, 10 ** (MOST_DIGITS - PLACES)) for amount in amounts]
        return sql.SQL("({})").format(sql.SQL(" AND ").join(numbers))


def find_capabilities(known: Catalog) -> CreditCapabilities:
    """What is there to read and to write."""
    tables = known.source
    account = tables.get("user_credits")
    usage = tables.get("usage_daily", {})
    return CreditCapabilities(
        account=None if account is None else frozenset(name for name in (*ACCOUNT, *FREE) if name in account),
        transactions="credit_transactions" in tables,
        deducted="credits_deducted" in usage,
        reported="reported_to_stripe" in usage,
        modes="billing_mode" in tables.get("users", {}),
        scale=_scale(tables),
    )


def _scale(tables: Mapping[str, Mapping[str, Column]]) -> int | None:
    columns = (
        tables[table][name] for table, names in SCALED.items() for name in names if name in tables.get(table, {})
    )
    return min((scale for scale in map(decimals_of, columns) if scale is not None), default=None)


def decimals_of(column: Column) -> int | None:
    """The decimals that a column declares; None where it has no limit."""
    return 0 if column.type in INTEGERS else column.scale


def unusable_accounts(connection: Connection, settings: Settings, credits: CreditCapabilities) -> list[str]:
    """The first users whose accounts hold amounts that cannot be computed with: they are left as they are."""
    if credits.account is None:
        return []
    text = compose("accounts.unusable_accounts", accounts=app_table(settings, "user_credits"), usable=credits.usable())
    return [str(row[0]) for row in connection.execute(text)]


def unusable_payers(
    connection: Connection, settings: Settings, credits: CreditCapabilities, months: Collection[date]
) -> list[str]:
    """The first users with such an account who have draws or uncovered usage in ``months``."""
    if credits.account is None or not months:
        return []
    text = compose(
        "accounts.unusable_payers",
        accounts=app_table(settings, "user_credits"),
        usable=credits.usable(),
        user_monthly=job_table(settings, "user_monthly"),
        draws=job_table(settings, "credit_draws"),
        days=in_spans("usage_date", month_spans(months)),
    )
    return [str(row[0]) for row in connection.execute(text, {"months": list(months)})]

"""Finds which tables and columns for prepaid credits the database has.

Only two are needed to draw credits: accounts (user_credits) and billing modes (users.billing_mode). The others are
written where they exist: usage_daily.credits_deducted, credit_transactions, free_credits_used.

The SQL expressions of ``CreditCapabilities`` are composed, because which columns exist differs by database.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.fixed_point import MOST_DIGITS, PLACES
from jobs.domain.rules import LOTS
from jobs.postgres.catalog import Catalog
from jobs.postgres.connections import Connection
from jobs.postgres.sql_loader import compose, in_spans
from jobs.settings import Settings

COLUMNS = {
    "free_granted": "free_credits_granted",
    "total_purchased": "total_purchased",
    "free_used": "free_credits_used",
    "total_used": "total_used",
}
"""The columns of an account's amounts, by their name in frames (schemas.ACCOUNTS)."""
SCALED = (
    *(("credit_transactions", name) for name in ("amount", "balance_before", "balance_after")),
    ("usage_daily", "credits_deducted"),
    *(("user_credits", name) for name in ("total_used", "free_credits_used", "total_purchased")),
)
"""Columns of which the one with the fewest decimals limits the decimals of the ledger."""


@dataclass(frozen=True, slots=True)
class CreditCapabilities:
    """The parts of the credit system that exist.

    - ``account``: the amount columns of user_credits; None: no such table
    - ``has_transactions``, ``has_deducted``, ``has_reported``, ``has_modes``: whether credit_transactions,
      usage_daily.credits_deducted, usage_daily.reported_to_stripe and users.billing_mode exist
    - ``scale``: the smallest number of declared decimals (SCALED); None: none declared
    """

    account: frozenset[str] | None
    has_transactions: bool
    has_deducted: bool
    has_reported: bool
    has_modes: bool
    scale: int | None

    @property
    def has_accounts(self) -> bool:
        return self.account is not None

    @property
    def writes_deducted(self) -> bool:
        """Whether runs write credits_deducted. Not without accounts: its values are then another program's."""
        return self.has_deducted and self.has_accounts

    @property
    def counts_free_apart(self) -> bool:
        """Whether free credits used have a column of their own."""
        return self.account is not None and "free_credits_used" in self.account

    @property
    def reported(self) -> sql.SQL:
        """The condition that a row, ``u``, was reported (invoiced) already."""
        return sql.SQL("u.reported_to_stripe IS TRUE" if self.has_reported else "false")

    def amount(self, column: str) -> sql.Composed:
        """Returns an amount of an account, ``a``, as SQL; 0 where there is no such column."""
        if self.account is None or column not in self.account:
            return sql.SQL("0::numeric").format()
        return sql.SQL("coalesce({}, 0)::numeric").format(sql.Identifier("a", column))

    @property
    def increments(self) -> dict[str, sql.SQL]:
        """What a draw, ``d``, adds to the columns of its account, as SQL by column."""
        if self.counts_free_apart:
            return {"total_used": sql.SQL("d.purchased"), "free_credits_used": sql.SQL("d.free")}
        return {"total_used": sql.SQL("d.free + d.purchased")}

    def credits_of_lots(self) -> dict[str, sql.Composed]:
        """Returns the credits of an account by lot, used or not, as SQL."""
        return {"free": self.amount("free_credits_granted"), "purchased": self.amount("total_purchased")}

    def used(self) -> dict[str, sql.Composed]:
        """Returns the used credits by lot, as SQL. Where total_used counts both, the first lot is used first."""
        total = self.amount("total_used")
        if self.counts_free_apart:
            return {"free": self.amount("free_credits_used"), "purchased": total}
        first, second = LOTS
        of_first = sql.SQL("least({}, {})").format(self.credits_of_lots()[first], total)
        return {first: of_first, second: sql.SQL("({} - {})").format(total, of_first)}

    def balance(self) -> sql.Composed:
        """Returns the balance of an account as SQL."""
        parts = {name: self.amount(column) for name, column in COLUMNS.items()}
        return sql.SQL("({total_purchased} + {free_granted} - {total_used} - {free_used})").format(**parts)

    def usable(self) -> sql.Composed:
        """Returns the condition that all amounts of an account are finite, and not too large for our amounts (NaN and
        Infinity compare as greater than any number)."""
        most = 10 ** (MOST_DIGITS - PLACES)
        numbers = [sql.SQL("abs({}) < {}").format(self.amount(column), most) for column in COLUMNS.values()]
        return sql.SQL("({})").format(sql.SQL(" AND ").join(numbers))


def find_capabilities(catalog: Catalog) -> CreditCapabilities:
    """Returns what the catalog shows of the credit system."""
    tables = catalog.source
    account, usage = tables.get("user_credits"), tables.get("usage_daily", {})
    scaled = (tables.get(table, {}).get(name) for table, name in SCALED)
    decimals = [column.decimals for column in scaled if column is not None and column.decimals is not None]
    return CreditCapabilities(
        account=None if account is None else frozenset(COLUMNS.values()) & account.keys(),
        has_transactions="credit_transactions" in tables,
        has_deducted="credits_deducted" in usage,
        has_reported="reported_to_stripe" in usage,
        has_modes="billing_mode" in tables.get("users", {}),
        scale=min(decimals, default=None),
    )


def find_unusable_accounts(connection: Connection, settings: Settings, credits: CreditCapabilities) -> list[str]:
    """Returns the first users whose accounts have amounts that are not usable numbers. Runs do not change them."""
    if not credits.has_accounts:
        return []
    text = compose("accounts.unusable_accounts", settings, usable=credits.usable())
    return [str(row[0]) for row in connection.execute(text)]


def find_unusable_payers(
    connection: Connection, settings: Settings, credits: CreditCapabilities, months: Collection[date]
) -> list[str]:
    """Returns the first users with an unusable account who have draws or uncovered usage in ``months``."""
    if not credits.has_accounts or not months:
        return []
    days = in_spans("usage_date", month_spans(months))
    text = compose("accounts.unusable_payers", settings, usable=credits.usable(), days=days)
    return [str(row[0]) for row in connection.execute(text, {"months": list(months)})]

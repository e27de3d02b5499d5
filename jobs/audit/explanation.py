"""The result of `explain`: the rows of a user's month with the price of every part of a quantity, and their sums."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class PricedQuantity:
    """A part of a row's quantity that has one price.

    - ``price``: for ``per`` units; the price of a level is per month and is divided by ``days``
    - ``discount``: in percent
    - ``charge``: what this part adds to the rounded charge of the parts before it; the charges of a meter's parts add
      up to its charge for the row
    - ``because``: where the price comes from: a line of the rate card, or a price override
    """

    meter: str
    quantity: Decimal
    tier_from: Decimal
    price: Decimal
    per: int
    discount: Decimal | None
    days: int | None
    charge: Decimal
    because: str


@dataclass(frozen=True, slots=True)
class PaymentSplit:
    """How a row is paid: the billing mode of its day, the draws in the ledger, and the remainder, which is uncovered,
    due, or reported (invoiced elsewhere)."""

    mode: str
    free: Decimal
    purchased: Decimal
    uncovered: Decimal
    amount_due: Decimal
    amount_reported: Decimal


@dataclass(frozen=True, slots=True)
class ExplainedRow:
    """A usage row: its priced pieces, the charge of each meter, its recorded cost, its cost, and how it is paid.

    ``adjustment``: the cost minus all charges.
    """

    id: str
    day: date
    cluster: str | None
    pieces: tuple[PricedQuantity, ...]
    charges: Mapping[str, Decimal]
    recorded: Decimal | None
    cost: Decimal
    adjustment: Decimal
    paid: PaymentSplit


@dataclass(frozen=True, slots=True)
class Rejected:
    """A usage row that cannot be priced, and why."""

    id: str
    day: date
    cluster: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class DayCost:
    """The cost of a day on a cluster, as stored and as recomputed now; None: there is no row."""

    day: date
    cluster: str | None
    stored: Decimal | None
    now: Decimal | None


@dataclass(frozen=True, slots=True)
class Owed:
    """The debts of a month: what was uncovered when it closed, and how much of it was settled or written off."""

    uncovered: Decimal
    settled: Decimal
    written_off: Decimal

    @property
    def open(self) -> Decimal:
        return self.uncovered - self.settled - self.written_off


@dataclass(frozen=True, slots=True)
class Explanation:
    """A user's month: its rows as they are now, beside what is stored.

    - ``last``: the last day that is shown
    - ``days``: the days whose cost differs from the stored one
    - ``sums``: the sums of the rows; ``rollup``: the same columns of user_monthly (empty: there is no row)
    - ``owed``: the debts of the month; None: it has none
    """

    user: str
    month: date
    cost_mode: str
    currency: str
    last: date
    closed: bool
    units: Mapping[str, str]
    lines: tuple[ExplainedRow, ...]
    rejected: tuple[Rejected, ...]
    days: tuple[DayCost, ...]
    sums: Mapping[str, Any]
    rollup: Mapping[str, Any]
    owed: Owed | None = None

    @property
    def differing(self) -> list[str]:
        """The columns whose sums differ from the roll-up, without columns that an earlier version did not compute."""
        known = [n for n in self.sums or self.rollup if not self.rollup or self.rollup.get(n) is not None]
        return [n for n in known if self.sums.get(n) != self.rollup.get(n)]

    @property
    def agrees(self) -> bool:
        return not self.differing

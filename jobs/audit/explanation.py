"""What `explain` says of a user's month: each row with the price of every part of its quantity, and the sums."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class PricedQuantity:
    """A part of a row's quantity that got one price. ``price`` is for ``per`` units; a level's is per month, and is
    divided by its ``days``. The ``charge`` of each part is what it adds to the rounded charge of those before it: all
    parts of a meter add up to its charge of the row, exactly."""

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
class Paid:
    """How a row is paid: the user's mode that day, the draws that stand in the ledger by kind of credit, and what is
    left: uncovered, due, or invoiced elsewhere."""

    mode: str
    free: Decimal
    purchased: Decimal
    uncovered: Decimal
    amount_due: Decimal
    amount_reported: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    """A usage row: its pieces, what each meter is charged, how its cost comes about, and how it is paid."""

    id: str
    day: date
    cluster: str | None
    pieces: tuple[PricedQuantity, ...]
    charges: Mapping[str, Decimal]
    recorded: Decimal | None
    cost: Decimal
    adjustment: Decimal
    paid: Paid


@dataclass(frozen=True, slots=True)
class Rejected:
    """A usage row that cannot be priced, and why."""

    id: str
    day: date
    cluster: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class DayCost:
    """What a day on a cluster costs as it is stored, and by its rows as they are now; None: there is nothing."""

    day: date
    cluster: str | None
    stored: Decimal | None
    now: Decimal | None


@dataclass(frozen=True, slots=True)
class Owed:
    """What was not covered when a month closed, and what became of it."""

    uncovered: Decimal
    settled: Decimal
    written_off: Decimal

    @property
    def open(self) -> Decimal:
        """What is still owed."""
        return self.uncovered - self.settled - self.written_off


@dataclass(frozen=True, slots=True)
class Explanation:
    """A user's month: its rows as they are now, what they add up to (``sums``), and what the ``rollup`` holds (empty:
    nothing), which is what was booked of a ``closed`` month. ``days``: those whose cost differs from what is stored.
    ``owed``: its debts, where it closed with any."""

    user: str
    month: date
    cost_mode: str
    currency: str
    last: date
    closed: bool
    units: Mapping[str, str]
    lines: tuple[Line, ...]
    rejected: tuple[Rejected, ...]
    days: tuple[DayCost, ...]
    sums: Mapping[str, Any]
    rollup: Mapping[str, Any]
    owed: Owed | None = None

    @property
    def differing(self) -> list[str]:
        """The columns whose sums are not what the roll-up holds; what an earlier version did not compute is no
        difference."""
        names = self.sums.keys() | self.rollup.keys()
        known = {name for name in names if not self.rollup or self.rollup.get(name) is not None}
        return [name for name in self.sums or self.rollup if name in known and not self._is_same(name)]

    @property
    def agrees(self) -> bool:
        return not self.differing

    def _is_same(self, name: str) -> bool:
        return bool(self.sums.get(name) == self.rollup.get(name))

"""The words of the credit oracle: amounts, accounts, draws, and rows as credits see them. Exact fractions only."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from math import floor
from typing import Any, Literal
from uuid import UUID

from oracle import ZERO, Options, Priced, World, half_even, month_of

Kind = Literal["prepaid", "early", "due", "free"]
"""How a row is paid. Early: prepaid, but of a day before credits.start."""


@dataclass(frozen=True)
class Amount:
    """Free and purchased credits, signed."""

    free: Fraction = ZERO
    purchased: Fraction = ZERO

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.free + other.free, self.purchased + other.purchased)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.free - other.free, self.purchased - other.purchased)

    @property
    def total(self) -> Fraction:
        return self.free + self.purchased


NOTHING = Amount()


def added(amounts: Iterable[Amount]) -> Amount:
    return sum(amounts, NOTHING)


@dataclass(frozen=True)
class Account:
    """A row of user_credits; free_used is None where that column does not exist (then `used` counts both kinds)."""

    purchased: Fraction = ZERO
    used: Fraction = ZERO
    granted: Fraction = ZERO
    free_used: Fraction | None = ZERO

    @property
    def balance(self) -> Fraction:
        return self.purchased + self.granted - self.used - (self.free_used or ZERO)

    def left(self, ours: Amount, scale: int) -> Amount:
        """Law 3: what a window may draw; `ours` are its own draws, which `used` and `free_used` count already."""
        if self.free_used is None:
            everything = self.used - ours.total
            free_used = min(self.granted, everything)
            used = everything - free_used
        else:
            free_used, used = self.free_used - ours.free, self.used - ours.purchased
        free, purchased = self.granted - free_used, self.purchased - used
        if free < 0:
            free, purchased = ZERO, purchased + free
        if purchased < 0:
            free, purchased = free + purchased, ZERO
        return Amount(floored(free, scale), floored(purchased, scale))

    def after(self, drawn: Amount) -> "Account":
        if self.free_used is None:
            return replace(self, used=self.used + drawn.total)
        return replace(self, used=self.used + drawn.purchased, free_used=self.free_used + drawn.free)


def floored(value: Fraction, scale: int) -> Fraction:
    """The most that `value` holds at that scale, at least 0."""
    return max(ZERO, Fraction(floor(value * 10**scale), 10**scale))


@dataclass(frozen=True)
class Draw:
    """A row of rollup.credit_draws."""

    row: UUID
    user: str
    revision: int
    day: date
    amount: Amount

    @property
    def key(self) -> tuple[UUID, str, date]:
        return self.row, self.user, month_of(self.day)


@dataclass(frozen=True)
class Posted:
    """A credit_transaction of ours: `about` is the row newly drawn, or the month that a run corrected."""

    user: str
    amount: Fraction
    about: UUID | date


@dataclass(frozen=True)
class Terms:
    """Settings and facts of the schema that credits depend on; scale is the ledger's."""

    scale: int = 2
    start: date | None = None
    feature_flag: str | None = None

    def starting(self, options: Options) -> date | None:
        """credits.start; without it the setting start."""
        return self.start or options.start


@dataclass(frozen=True)
class Facts:
    """What other programs wrote, accounts aside. modes: billing_mode of each row of users, None: no such column."""

    world: World
    modes: Mapping[str, str | None] | None = None
    flags: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    reported: frozenset[UUID] = frozenset()

    def effective(self, user: str, terms: Terms) -> str | None:
        """A prepaid user who lacks the feature flag is postpaid."""
        mode = (self.modes or {}).get(user)
        if mode == "prepaid" and terms.feature_flag is not None:
            flags = self.flags.get(user)
            return "prepaid" if flags is not None and flags.get(terms.feature_flag) else "postpaid"
        return mode


@dataclass(frozen=True)
class Debt:
    """What is still owed for a row of a closed month."""

    row: UUID
    user: str
    day: date
    cluster: UUID | None
    open: Fraction


@dataclass(frozen=True)
class Lot:
    """An accepted row with its quantized cost: at the ledger's scale if prepaid, at the currency's if due, else 0."""

    one: Priced
    kind: Kind
    reported: bool
    part: Fraction

    @property
    def key(self) -> tuple[UUID, str, date]:
        return self.one.row.id, self.one.user, month_of(self.one.day)


def lots(rows: Iterable[tuple[Priced, Kind]], reported: frozenset[UUID], scales: Mapping[Kind, int]) -> list[Lot]:
    """Section 2, quantize: the rows of one user in row order; prepaid and due rows have a running cost each a month."""
    running: defaultdict[tuple[date, Kind], Fraction] = defaultdict(Fraction)
    found = []
    for one, kind in rows:
        part = ZERO
        if kind in scales:
            before = running[month_of(one.day), kind]
            part = half_even(before + one.cost, scales[kind]) - half_even(before, scales[kind])
            running[month_of(one.day), kind] = before + one.cost
        found.append(Lot(one, kind, one.row.id in reported, part))
    return found

"""Exact integer arithmetic as polars expressions: products, one rounding, running totals.

A division of 128 bits takes thirty times as long as one of 64, and what real days come to fits 64. ``Whole`` knows
between which bounds its numbers lie, and is as wide as these ask for: exact either way.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from operator import add, mul, sub

import polars as pl

from jobs.domain.fixed_point import ONE, PLACES

WIDE = pl.Int128()
NARROW = pl.Int64()
UNKNOWN = 2**126
"""A bound that nobody has measured. What is meant for 128 bits fits them (``rate_card.MAX_PRICE``)."""


def whole(value: int) -> pl.Expr:
    """A literal wide enough for any product of this job; a plain literal would be an Int32 or Int64."""
    return pl.lit(value, dtype=WIDE)


@dataclass(frozen=True, slots=True)
class Whole:
    """Whole numbers from ``least`` to ``most``: an expression of Int64 where these fit, else of Int128."""

    expr: pl.Expr
    least: int
    most: int

    @classmethod
    def of(cls, value: "int | Whole") -> "Whole":
        """The same number in every row."""
        if isinstance(value, Whole):
            return value
        return cls(pl.lit(value, dtype=NARROW if _fits(value, value) else WIDE), value, value)

    @property
    def is_narrow(self) -> bool:
        return _fits(self.least, self.most)

    @property
    def wide(self) -> pl.Expr:
        """The numbers as frames hold them."""
        return self.expr.cast(WIDE)

    def __add__(self, other: "int | Whole") -> "Whole":
        more = Whole.of(other)
        return _made(add, self, more, self.least + more.least, self.most + more.most)

    def __sub__(self, other: "int | Whole") -> "Whole":
        less = Whole.of(other)
        return _made(sub, self, less, self.least - less.most, self.most - less.least)

    def __mul__(self, other: "int | Whole") -> "Whole":
        factor = Whole.of(other)
        if factor.least == factor.most == 1:
            return self
        ends = [one * two for one, two in product((self.least, self.most), (factor.least, factor.most))]
        return _made(mul, self, factor, min(ends), max(ends))

    def at_least(self, other: "int | Whole") -> "Whole":
        """The greater of both."""
        floor = Whole.of(other)
        if floor.most <= self.least:
            return self
        return _made(pl.max_horizontal, self, floor, max(self.least, floor.least), max(self.most, floor.most))

    def at_most(self, other: "int | Whole") -> "Whole":
        """The lesser of both."""
        roof = Whole.of(other)
        if roof.least >= self.most:
            return self
        return _made(pl.min_horizontal, self, roof, min(self.least, roof.least), min(self.most, roof.most))

    def known(self, least: int, most: int) -> "Whole":
        """The same numbers, of which the caller knows closer bounds than arithmetic can tell."""
        return _kept(self.expr, max(least, self.least), min(most, self.most), narrow=self.is_narrow)

    def divided(self, denominator: "int | Whole") -> "Whole":
        """``self / denominator`` (> 0) rounded once to a whole number, half to even."""
        by = Whole.of(denominator)
        if by.least == by.most == 1:
            return self
        # Where nothing is known of the denominator it is still above 0.
        smallest, largest = max(by.least, 1), max(by.most, 1)
        ends = [end // part for end, part in product((self.least, self.most), (smallest, largest))]
        narrow = self.is_narrow and _fits(0, 2 * by.most)
        parts = (self.expr, by.expr) if narrow else (self.wide, by.wide)
        return _kept(_once(_half_even, *parts, narrow=narrow), min(ends), max(ends) + 1, narrow=narrow)

    def rounded(self, places: int) -> "Whole":
        """The numbers (units of 10^-10) at ``places`` decimals, half to even, still in units of 10^-10."""
        unit: int = 10 ** (PLACES - places)
        return self.divided(unit) * unit

    def running(self, starts: pl.Expr, rows: int) -> "Whole":
        """The running total, each row's own included, anew from each of (at most) ``rows`` rows that ``starts``.

        Needs the rows of a group to lie together, in order: one pass over the column, no grouping.
        """
        least, most = min(0, self.least * rows), max(0, self.most * rows)
        narrow = _fits(least, most)
        return _kept(
            _once(_running, self.expr if narrow else self.wide, starts, narrow=narrow), least, most, narrow=narrow
        )

    def steps(self, starts: pl.Expr, opening: int = 0) -> "Whole":
        """What each row adds to the one before it, or to ``opening`` where a group ``starts``: undoes ``running``."""
        least, most = (self - self).least, (self - self).most
        narrow = self.is_narrow and _fits(least, most) and _fits(opening, opening)
        steps = _once(partial(_steps, opening), self.expr if narrow else self.wide, starts, narrow=narrow)
        return _kept(steps, min(least, self.least - opening), max(most, self.most - opening), narrow=narrow)


def where(condition: pl.Expr, then: Whole, otherwise: Whole) -> Whole:
    """``then`` where the condition holds, else ``otherwise``."""
    least, most = min(then.least, otherwise.least), max(then.most, otherwise.most)

    def choose(one: pl.Expr, two: pl.Expr) -> pl.Expr:
        return pl.when(condition).then(one).otherwise(two)

    return _made(choose, then, otherwise, least, most)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known of a frame: how many ``rows`` it has, between which numbers columns lie, and whether each row is
    ``alone``, the only one of its user and day."""

    rows: int = UNKNOWN
    ends: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    alone: bool = False

    @classmethod
    def of(cls, frame: pl.DataFrame, names: Iterable[str]) -> "Bounds":
        """Measured: two fast passes over each column of ``names``."""
        columns = list(names)
        if frame.is_empty():
            return cls(0, dict.fromkeys(columns, (0, 0)), alone=True)
        least, most = (frame.select(ends).row(0) for ends in (pl.col(columns).min(), pl.col(columns).max()))
        ends = {name: (low or 0, high or 0) for name, low, high in zip(columns, least, most, strict=True)}
        return cls(frame.height, ends, "new_day" in frame.columns and bool(frame["new_day"].all()))

    def column(self, name: str) -> Whole:
        """A column, as narrow as what is known of it."""
        least, most = self.ends.get(name, (-UNKNOWN, UNKNOWN))
        return Whole(pl.col(name).cast(NARROW if _fits(least, most) else WIDE), least, most)


UNMEASURED = Bounds()


def scaled_half_even(numerator: pl.Expr, denominator: pl.Expr, keep: pl.Expr, keep_of: pl.Expr) -> pl.Expr:
    """``numerator / denominator × keep / keep_of`` (all Int128) with one rounding, half to even.

    The straight product ``numerator × keep`` may pass 2^127, so the whole part and the remainder of the first
    quotient are multiplied on their own; what is left of both is divided together, once.
    """
    part = numerator // denominator
    most = part * keep
    first = most // keep_of
    left = (most - first * keep_of) * denominator + (numerator - part * denominator) * keep
    under = denominator * keep_of
    floor = first + left // under
    twice = 2 * (left % under)
    # A tie goes by the parity of the whole result: of a part of it, it would go wrong half of the time.
    return floor + ((twice > under) | ((twice == under) & (floor % 2 == 1))).cast(WIDE)


def _once(
    function: Callable[[pl.Series, pl.Series], pl.Series], one: pl.Expr, two: pl.Expr, *, narrow: bool
) -> pl.Expr:
    """``function`` of two columns. As expressions its operands would be computed as often as it mentions them."""
    return pl.map_batches([one, two], lambda columns: function(*columns), return_dtype=NARROW if narrow else WIDE)


def _half_even(numerator: pl.Series, denominator: pl.Series) -> pl.Series:
    two = pl.Series([2], dtype=numerator.dtype)
    floor = numerator // denominator
    twice = (numerator - floor * denominator) * two
    up, ties = twice > denominator, twice == denominator
    if ties.any():
        up |= ties & (floor % two == pl.Series([1], dtype=numerator.dtype))
    return floor + up.cast(floor.dtype)


def _running(value: pl.Series, starts: pl.Series) -> pl.Series:
    total = value.cum_sum()
    return total - (total - value).to_frame("before").select(pl.when(starts).then("before").forward_fill()).to_series()


def _steps(opening: int, value: pl.Series, starts: pl.Series) -> pl.Series:
    before = pl.when(starts).then(pl.lit(opening, dtype=value.dtype)).otherwise(pl.col("value").shift())
    return value - value.to_frame("value").select(before).to_series()


def _fits(least: int, most: int) -> bool:
    return least >= -(2**63) and most < 2**63


def _made(operation: Callable[[pl.Expr, pl.Expr], pl.Expr], one: Whole, two: Whole, least: int, most: int) -> Whole:
    narrow = one.is_narrow and two.is_narrow and _fits(least, most)
    expr = operation(one.expr, two.expr) if narrow else operation(one.wide, two.wide)
    return _kept(expr, least, most, narrow=narrow)


def _kept(expr: pl.Expr, least: int, most: int, *, narrow: bool) -> Whole:
    if _fits(least, most) and not narrow:
        expr = expr.cast(NARROW)
    return Whole(expr, max(least, -UNKNOWN), min(most, UNKNOWN))


def quantized(cost: Whole, scale: int | None, rows: int) -> Whole:
    """Each row's part of the user's running cost in the month, at ``scale`` decimals; of at most ``rows`` rows.

    round(C_i) − round(C_i−1): the parts add up to the rounded whole, so that a customer whose days cost 0.004
    is charged. Needs rows from ``charges.sort_rows``.
    """
    if scale is None or scale >= PLACES:
        return cost
    starts = pl.col("new_month")
    parts = cost.running(starts, rows).rounded(scale).steps(starts)
    return parts.known(cost.least - ONE, cost.most + ONE)

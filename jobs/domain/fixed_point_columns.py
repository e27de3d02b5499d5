"""Exact integer arithmetic as polars expressions: products, one rounding, cumulative sums.

A 128-bit division takes thirty times as long as a 64-bit one, and the figures of real days fit 64 bits. A
``BoundedInt`` carries the bounds of its values and uses Int64 where they fit, else Int128. Both are exact.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from operator import add, mul, sub

import polars as pl

from jobs.domain.fixed_point import ONE, PLACES

WIDE = pl.Int128()
NARROW = pl.Int64()
UNKNOWN = 2**126
"""The bound of a column that was not measured. Limits such as ``rate_card.MAX_PRICE`` ensure that all values fit."""


def int128(value: int) -> pl.Expr:
    """An Int128 literal, wide enough for any product of this job; a plain literal would be an Int32 or Int64."""
    return pl.lit(value, dtype=WIDE)


@dataclass(frozen=True, slots=True)
class BoundedInt:
    """An integer expression with known bounds.

    ``expr``: Int64 where the bounds fit, else Int128. ``least``, ``most``: the inclusive bounds of every value.
    """

    expr: pl.Expr
    least: int
    most: int

    @classmethod
    def of(cls, value: "int | BoundedInt") -> "BoundedInt":
        """``value`` itself, or a constant: the same number in every row."""
        if isinstance(value, BoundedInt):
            return value
        return cls(pl.lit(value, dtype=NARROW if _fits(value, value) else WIDE), value, value)

    @property
    def is_narrow(self) -> bool:
        return _fits(self.least, self.most)

    @property
    def wide(self) -> pl.Expr:
        """The expression as Int128, the type of the columns of frames."""
        return self.expr.cast(WIDE)

    def __add__(self, other: "int | BoundedInt") -> "BoundedInt":
        more = BoundedInt.of(other)
        return _combined(add, self, more, self.least + more.least, self.most + more.most)

    def __sub__(self, other: "int | BoundedInt") -> "BoundedInt":
        less = BoundedInt.of(other)
        return _combined(sub, self, less, self.least - less.most, self.most - less.least)

    def __mul__(self, other: "int | BoundedInt") -> "BoundedInt":
        factor = BoundedInt.of(other)
        if factor.least == factor.most == 1:
            return self
        ends = [one * two for one, two in product((self.least, self.most), (factor.least, factor.most))]
        return _combined(mul, self, factor, min(ends), max(ends))

    def at_least(self, other: "int | BoundedInt") -> "BoundedInt":
        """The maximum of ``self`` and ``other`` in each row."""
        lower = BoundedInt.of(other)
        if lower.most <= self.least:
            return self
        return _combined(pl.max_horizontal, self, lower, max(self.least, lower.least), max(self.most, lower.most))

    def at_most(self, other: "int | BoundedInt") -> "BoundedInt":
        """The minimum of ``self`` and ``other`` in each row."""
        upper = BoundedInt.of(other)
        if upper.least >= self.most:
            return self
        return _combined(pl.min_horizontal, self, upper, min(self.least, upper.least), min(self.most, upper.most))

    def with_bounds(self, least: int, most: int) -> "BoundedInt":
        """The same values with narrower bounds, which the caller knows and arithmetic on bounds cannot derive."""
        return _bounded(self.expr, max(least, self.least), min(most, self.most))

    def divided(self, denominator: "int | BoundedInt") -> "BoundedInt":
        """``self / denominator`` (> 0), rounded once to an integer, half to even."""
        by = BoundedInt.of(denominator)
        if by.least == by.most == 1:
            return self
        # The denominator is above 0 even if its bounds are unknown.
        smallest, largest = max(by.least, 1), max(by.most, 1)
        ends = [end // part for end, part in product((self.least, self.most), (smallest, largest))]
        narrow = self.is_narrow and _fits(0, 2 * by.most)
        parts = (self.expr, by.expr) if narrow else (self.wide, by.wide)
        return _bounded(_map_once(_half_even, *parts, narrow=narrow), min(ends), max(ends) + 1)

    def rounded(self, places: int) -> "BoundedInt":
        """The values (units of 10^-10) rounded to ``places`` decimals, half to even; still in units of 10^-10."""
        unit: int = 10 ** (PLACES - places)
        return self.divided(unit) * unit

    def cumulative(self, starts: pl.Expr, rows: int) -> "BoundedInt":
        """The cumulative sum within each group, the row's own value included.

        ``starts``: true in the first row of each group. ``rows``: the maximum number of rows, for the bounds. The rows
        of a group must be adjacent and in order; this takes one pass over the column, without grouping.
        """
        least, most = min(0, self.least * rows), max(0, self.most * rows)
        narrow = _fits(least, most)
        total = _map_once(_cumulative, self.expr if narrow else self.wide, starts, narrow=narrow)
        return _bounded(total, least, most)

    def deltas(self, starts: pl.Expr) -> "BoundedInt":
        """The difference of each row to the row before it: the inverse of ``cumulative``.

        ``starts``: true in the first row of each group; its difference is taken to 0.
        """
        least, most = (self - self).least, (self - self).most
        narrow = self.is_narrow and _fits(least, most)
        steps = _map_once(_deltas, self.expr if narrow else self.wide, starts, narrow=narrow)
        return _bounded(steps, min(least, self.least), max(most, self.most))


def where(condition: pl.Expr, then: BoundedInt, otherwise: BoundedInt) -> BoundedInt:
    """``then`` where the condition is true, else ``otherwise``."""
    least, most = min(then.least, otherwise.least), max(then.most, otherwise.most)
    return _combined(lambda one, two: pl.when(condition).then(one).otherwise(two), then, otherwise, least, most)


@dataclass(frozen=True, slots=True)
class ColumnBounds:
    """The known bounds of a frame.

    ``rows``: the number of rows. ``ends``: the minimum and maximum of columns, by name. ``alone``: whether each row is
    the only one of its user and day.
    """

    rows: int = UNKNOWN
    ends: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    alone: bool = False

    @classmethod
    def of(cls, frame: pl.DataFrame, names: Iterable[str]) -> "ColumnBounds":
        """The measured bounds of the columns ``names``: two fast passes over each column."""
        columns = list(names)
        if frame.is_empty():
            return cls(0, dict.fromkeys(columns, (0, 0)), alone=True)
        least, most = (frame.select(ends).row(0) for ends in (pl.col(columns).min(), pl.col(columns).max()))
        ends = {name: (low or 0, high or 0) for name, low, high in zip(columns, least, most, strict=True)}
        return cls(frame.height, ends, "starts_day" in frame.columns and bool(frame["starts_day"].all()))

    def column(self, name: str) -> BoundedInt:
        """The column ``name`` as Int64 where its bounds fit, else as Int128."""
        least, most = self.ends.get(name, (-UNKNOWN, UNKNOWN))
        return BoundedInt(pl.col(name).cast(NARROW if _fits(least, most) else WIDE), least, most)


UNMEASURED = ColumnBounds()


def scaled_half_even(numerator: pl.Expr, denominator: pl.Expr, share: pl.Expr, share_of: pl.Expr) -> pl.Expr:
    """``numerator / denominator × share / share_of`` (all Int128) with one rounding, half to even.

    The product ``numerator × share`` may exceed 2^127. So the quotient and the remainder of ``numerator / denominator``
    are multiplied separately, and the sum of both remainders is divided once.
    """
    quotient = numerator // denominator
    scaled = quotient * share
    whole = scaled // share_of
    rest = (scaled - whole * share_of) * denominator + (numerator - quotient * denominator) * share
    divisor = denominator * share_of
    floor = whole + rest // divisor
    twice = 2 * (rest % divisor)
    # A tie is decided by the parity of the complete result; the parity of a part of it would be wrong half of the time.
    return floor + ((twice > divisor) | ((twice == divisor) & (floor % 2 == 1))).cast(WIDE)


def _map_once(
    function: Callable[[pl.Series, pl.Series], pl.Series], one: pl.Expr, two: pl.Expr, *, narrow: bool
) -> pl.Expr:
    """``function`` of two columns. As a plain expression, each operand would be computed at every mention."""
    return pl.map_batches([one, two], lambda columns: function(*columns), return_dtype=NARROW if narrow else WIDE)


def _half_even(numerator: pl.Series, denominator: pl.Series) -> pl.Series:
    two = pl.Series([2], dtype=numerator.dtype)
    floor = numerator // denominator
    twice = (numerator - floor * denominator) * two
    up, ties = twice > denominator, twice == denominator
    if ties.any():
        up |= ties & (floor % two == pl.Series([1], dtype=numerator.dtype))
    return floor + up.cast(floor.dtype)


def _cumulative(value: pl.Series, starts: pl.Series) -> pl.Series:
    total = value.cum_sum()
    return total - (total - value).to_frame("before").select(pl.when(starts).then("before").forward_fill()).to_series()


def _deltas(value: pl.Series, starts: pl.Series) -> pl.Series:
    before = pl.when(starts).then(pl.lit(0, dtype=value.dtype)).otherwise(pl.col("value").shift())
    return value - value.to_frame("value").select(before).to_series()


def _fits(least: int, most: int) -> bool:
    return least >= -(2**63) and most < 2**63


def _combined(
    operation: Callable[[pl.Expr, pl.Expr], pl.Expr], one: BoundedInt, two: BoundedInt, least: int, most: int
) -> BoundedInt:
    narrow = one.is_narrow and two.is_narrow and _fits(least, most)
    expr = operation(one.expr, two.expr) if narrow else operation(one.wide, two.wide)
    return _bounded(expr, least, most)


def _bounded(expr: pl.Expr, least: int, most: int) -> BoundedInt:
    expr = expr.cast(NARROW) if _fits(least, most) else expr
    return BoundedInt(expr, max(least, -UNKNOWN), min(most, UNKNOWN))


def quantized(cost: BoundedInt, scale: int | None, rows: int) -> BoundedInt:
    """Each row's part of the user's cumulative cost in the month, at ``scale`` decimals; of at most ``rows`` rows.

    A part is round(C_i) − round(C_i−1), where C_i is the cumulative cost. So the parts add up to the rounded total, and
    a customer whose days cost 0.004 each is charged. Needs rows from ``charges.sort_rows``.
    """
    if scale is None or scale >= PLACES:
        return cost
    starts = pl.col("starts_month")
    parts = cost.cumulative(starts, rows).rounded(scale).deltas(starts)
    return parts.with_bounds(cost.least - ONE, cost.most + ONE)

"""Exact integer arithmetic as polars expressions: products, one rounding, running totals."""

from decimal import Decimal

import polars as pl

from jobs.model.scale import PLACES

WIDE = pl.Int128()


def whole(value: int) -> pl.Expr:
    """A literal wide enough for any product of this job; a plain literal would be an Int32 or Int64."""
    return pl.lit(value, dtype=WIDE)


def divided_half_even(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """``numerator / denominator`` (> 0) rounded once to a whole number, half to even; exact for either sign."""
    floor = numerator // denominator
    return _half_even(floor, numerator - floor * denominator, denominator)


def scaled_half_even(numerator: pl.Expr, denominator: pl.Expr, keep: pl.Expr, keep_of: pl.Expr) -> pl.Expr:
    """``numerator / denominator × keep / keep_of`` with one rounding, half to even.

    The straight product ``numerator × keep`` may pass 2^127, so the whole part and the remainder of the first
    quotient are multiplied on their own; what is left of both is divided together, once.
    """
    part = numerator // denominator
    most = part * keep
    floor = most // keep_of
    left = (most - floor * keep_of) * denominator + (numerator - part * denominator) * keep
    more = left // (denominator * keep_of)
    return _half_even(floor + more, left - more * denominator * keep_of, denominator * keep_of)


def _half_even(floor: pl.Expr, rest: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    # A tie goes by the parity of the whole result: of a part of it, it would go wrong half of the time.
    up = (rest * 2 > denominator) | ((rest * 2 == denominator) & (floor % 2 == 1))
    return floor + up.cast(WIDE)


def rounded(value: pl.Expr, places: int) -> pl.Expr:
    """``value`` (units of 10^-10) at ``places`` decimals, half to even, still in units of 10^-10."""
    unit = whole(10 ** (PLACES - places))
    return divided_half_even(value, unit) * unit


def in_decimals(column: str) -> pl.Expr:
    """A column of units as the decimals that it counts."""
    return pl.col(column).cast(pl.Decimal(38, 0)) * pl.lit(Decimal(1).scaleb(-PLACES))


def before(value: pl.Expr, starts: pl.Expr) -> pl.Expr:
    """The running total of ``value`` before each row, anew from each row where ``starts`` is true.

    Needs the rows of a group to lie together, in order: one pass over the column, no grouping.
    """
    running = value.cast(WIDE).cum_sum() - value.cast(WIDE)
    return running - pl.when(starts).then(running).forward_fill()

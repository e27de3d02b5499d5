"""Exact integer arithmetic as polars expressions: one rounding, cumulative sums, quantized amounts.

Every value is an Int128, which counts units of 10^-10. Limits such as ``rate_card.MAX_PRICE`` ensure that all values,
and products of a quantity and a price, fit.
"""

from collections.abc import Callable

import polars as pl

from jobs.domain.fixed_point import PLACES

WIDE = pl.Int128()


def int128(value: int) -> pl.Expr:
    """An Int128 literal, wide enough for any product of this job; a plain literal would be an Int32 or Int64."""
    return pl.lit(value, dtype=WIDE)


def divide_half_even(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """``numerator / denominator`` (> 0), rounded once to an integer, half to even."""
    return _map_once(_half_even, numerator.cast(WIDE), denominator.cast(WIDE))


def round_half_even(amount: pl.Expr, places: int) -> pl.Expr:
    """``amount`` (units of 10^-10) rounded to ``places`` decimals, half to even; still in units of 10^-10."""
    unit = int128(10 ** (PLACES - places))
    return divide_half_even(amount, unit) * unit


def cumulate(amount: pl.Expr, starts: pl.Expr) -> pl.Expr:
    """The cumulative sum within each group, the row's own value included.

    ``starts``: true in the first row of each group. The rows of a group must be adjacent and in order; this takes one
    pass over the column, without grouping.
    """
    return _map_once(_cumulative, amount.cast(WIDE), starts)


def deltas(amount: pl.Expr, starts: pl.Expr) -> pl.Expr:
    """The difference of each row to the one before it; of the first row of a group to 0. Undoes ``cumulate``."""
    return _map_once(_deltas, amount.cast(WIDE), starts)


def quantize(cost: pl.Expr, scale: int | None) -> pl.Expr:
    """Each row's part of the user's cumulative cost in the month, at ``scale`` decimals.

    A part is round(C_i) − round(C_i−1), where C_i is the cumulative cost. So the parts add up to the rounded total, and
    a customer whose days cost 0.004 each is charged. Needs rows from ``charges.sort_rows``.
    """
    if scale is None or scale >= PLACES:
        return cost
    starts = pl.col("starts_month")
    return deltas(round_half_even(cumulate(cost, starts), scale), starts)


def scaled_half_even(numerator: pl.Expr, denominator: pl.Expr, share: pl.Expr, share_of: int) -> pl.Expr:
    """``numerator / denominator × share / share_of`` with one rounding, half to even."""
    return _map_once(_scaled_half_even, numerator, denominator, share, int128(share_of))


def _map_once(function: Callable[..., pl.Series], *columns: pl.Expr) -> pl.Expr:
    """``function`` of some columns. As a plain expression, each operand would be computed at every mention."""
    return pl.map_batches(columns, lambda series: function(*series), return_dtype=WIDE)


def _half_even(numerator: pl.Series, denominator: pl.Series, plus: pl.Series | None = None) -> pl.Series:
    """The quotient, rounded, and ``plus`` (whole numbers): a tie is decided by the parity of their sum."""
    floor = numerator // denominator
    twice = (numerator - floor * denominator) * _TWO
    result = floor if plus is None else floor + plus
    up, ties = twice > denominator, twice == denominator
    if ties.any():
        up |= ties & (result % _TWO == _ONE)
    return result + up.cast(WIDE)


_ONE, _TWO = (pl.Series([number], dtype=WIDE) for number in (1, 2))


def _scaled_half_even(numerator: pl.Series, denominator: pl.Series, share: pl.Series, share_of: pl.Series) -> pl.Series:
    # The product ``numerator × share`` may exceed 2^127. So the quotient and the remainder of ``numerator /
    # denominator`` are multiplied separately, and the sum of both remainders is divided once.
    quotient = numerator // denominator
    scaled = quotient * share
    whole = scaled // share_of
    rest = (scaled - whole * share_of) * denominator + (numerator - quotient * denominator) * share
    return _half_even(rest, denominator * share_of, whole)


def _cumulative(value: pl.Series, starts: pl.Series) -> pl.Series:
    total = value.cum_sum()
    return total - (total - value).to_frame("before").select(pl.when(starts).then("before").forward_fill()).to_series()


def _deltas(value: pl.Series, starts: pl.Series) -> pl.Series:
    before = pl.when(starts).then(pl.lit(0, dtype=WIDE)).otherwise(pl.col("value").shift())
    return value - value.to_frame("value").select(before).to_series()

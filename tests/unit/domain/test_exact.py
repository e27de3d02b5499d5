"""The integer arithmetic of pricing against fractions.Fraction, at its bounds, in 64 bits and in 128."""

from fractions import Fraction
from itertools import pairwise

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.domain.fixed_point import ONE
from jobs.domain.fixed_point_columns import (
    UNKNOWN,
    UNMEASURED,
    BoundedInt,
    ColumnBounds,
    int128,
    scaled_half_even,
    where,
)
from jobs.domain.rate_card import MAX_PRICE

MOST_UNITS = 9 * 10**8 * ONE
PERCENT = 100 * ONE
EDGE = 2**63

numbers = st.integers(-(10**36), 10**36) | st.integers(-EDGE, EDGE) | st.integers(-100, 100)
starting = st.lists(st.tuples(st.booleans(), st.integers(-MOST_UNITS, MOST_UNITS) | st.integers(-9, 9)), min_size=1)


def value(found: BoundedInt) -> int:
    """The number; it lies within its bounds, and is as wide as these ask for."""
    column = pl.select(found.expr).to_series()
    assert column.dtype == (pl.Int64 if found.least >= -EDGE and found.most < EDGE else pl.Int128)
    assert found.least <= column.item() <= found.most
    return int(column.item())


def measured(numbers: list[int]) -> tuple[pl.DataFrame, BoundedInt]:
    frame = pl.DataFrame({"n": numbers}, schema={"n": pl.Int128})
    return frame, ColumnBounds.of(frame, ["n"]).column("n")


@given(numbers, numbers, st.booleans())
@example(EDGE - 1, 1, True)
@example(-EDGE, 1, True)
@example(EDGE - 1, EDGE - 1, True)
def test_sums_differences_and_products_are_exact_in_either_width(one: int, two: int, measure: bool) -> None:
    left, right = (BoundedInt.of(n) if measure else BoundedInt(int128(n), -UNKNOWN, UNKNOWN) for n in (one, two))
    assert value(left + right) == one + two
    assert value(left - right) == one - two
    assert value(left.at_least(right)) == max(one, two)
    assert value(left.at_most(right)) == min(one, two)
    assert value(where(pl.lit(value=True), left, right)) == one
    if abs(one * two) < UNKNOWN:
        assert value(left * right) == one * two


@given(numbers, st.integers(1, 10**20) | st.integers(1, 9), st.booleans())
@example(5, 10, True)
@example(15, 10, True)
@example(-5, 10, True)
@example(-15, 10, False)
@example(EDGE - 1, EDGE - 1, True)
@example(10**20, 1, False)
def test_a_quotient_is_rounded_once_half_to_even(numerator: int, denominator: int, measure: bool) -> None:
    over, by = (
        BoundedInt.of(n) if measure else BoundedInt(int128(n), -UNKNOWN, UNKNOWN) for n in (numerator, denominator)
    )
    assert value(over.divided(by)) == round(Fraction(numerator, denominator))  # half to even


@given(st.lists(st.tuples(numbers, st.integers(28, 31)), min_size=1))
def test_a_column_is_divided_row_by_row(rows: list[tuple[int, int]]) -> None:
    frame, over = measured([n for n, _ in rows])
    frame = frame.with_columns(days=pl.Series([days for _, days in rows], dtype=pl.Int8))
    found = frame.select(over.divided(BoundedInt(pl.col("days").cast(pl.Int64), 28, 31)).expr)["n"]
    assert found.to_list() == [round(Fraction(n, days)) for n, days in rows]


@settings(max_examples=300)
@given(
    st.integers(0, MOST_UNITS),
    st.integers(0, MAX_PRICE * ONE),
    st.sampled_from([ONE, 1000 * ONE, 28 * ONE, 31 * ONE, 31_000 * ONE]),
    st.integers(0, PERCENT),
)
@example(MOST_UNITS, MAX_PRICE * ONE, ONE, PERCENT)
@example(MOST_UNITS, MAX_PRICE * ONE, 31_000 * ONE, PERCENT - 1)
@example(3, ONE // 2, ONE, PERCENT)  # 1.5: a tie after an odd whole part
@example(1, ONE // 2, ONE, PERCENT)  # 0.5: a tie after an even one
@example(7, ONE, ONE, PERCENT // 2)  # 3.5, half of it by the discount
def test_a_discounted_charge_is_rounded_once_and_never_overflows(
    quantity: int, price: int, denominator: int, keep: int
) -> None:
    found = scaled_half_even(int128(quantity) * int128(price), int128(denominator), int128(keep), int128(PERCENT))
    assert pl.select(found).item() == round(Fraction(quantity * price, denominator) * Fraction(keep, PERCENT))


@given(st.integers(-(10**30), 10**30), st.integers(0, 10))
def test_places_are_cut_half_to_even(units: int, places: int) -> None:
    unit = 10 ** (10 - places)
    assert value(BoundedInt.of(units).rounded(places)) == round(Fraction(units, unit)) * unit


@given(starting, st.booleans())
@example([(True, EDGE - 1), (False, EDGE - 1), (True, 1)], True)
def test_a_running_total_starts_anew_with_each_group_and_its_steps_undo_it(
    rows: list[tuple[bool, int]], measure: bool
) -> None:
    starts = [begins or not number for number, (begins, _) in enumerate(rows)]
    units, expected = [n for _, n in rows], list[int]()
    for begins, n in zip(starts, units, strict=True):
        expected.append(n if begins else expected[-1] + n)
    frame, column = measured(units)
    frame = frame.with_columns(starts=pl.Series(starts))
    if not measure:
        column = UNMEASURED.column("n")
    running = column.cumulative(pl.col("starts"), len(rows) if measure else UNKNOWN)
    assert frame.select(running.expr)["n"].to_list() == expected
    assert frame.select(running.deltas(pl.col("starts")).expr)["n"].to_list() == units


@given(st.lists(st.integers(-MOST_UNITS, MOST_UNITS), min_size=1))
def test_steps_of_one_group_add_up_to_the_way_from_zero(totals: list[int]) -> None:
    frame, column = measured(totals)
    first = pl.int_range(pl.len()) == 0
    found = frame.select(column.deltas(first).expr)["n"].to_list()
    assert found == [after - before for before, after in pairwise([0, *totals])]


def test_bounds_are_those_of_the_rows() -> None:
    frame = pl.DataFrame({"n": [3, None, -7], "starts_day": [True, True, True]})
    assert ColumnBounds.of(frame, ["n"]) == ColumnBounds(3, {"n": (-7, 3)}, alone=True)
    assert not ColumnBounds.of(frame.with_columns(starts_day=pl.lit(value=False)), ["n"]).alone
    assert ColumnBounds.of(frame.clear(), ["n"]) == ColumnBounds(0, {"n": (0, 0)}, alone=True)

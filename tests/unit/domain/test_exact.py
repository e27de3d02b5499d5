"""The integer arithmetic of pricing against fractions.Fraction, at its bounds."""

from fractions import Fraction
from itertools import pairwise

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.domain.fixed_point import ONE
from jobs.domain.fixed_point_columns import (
    cumulate,
    deltas,
    divide_half_even,
    int128,
    round_half_even,
    scaled_half_even,
)
from jobs.domain.rate_card import MAX_PRICE

MOST_UNITS = 9 * 10**8 * ONE
PERCENT = 100 * ONE
EDGE = 2**63

numbers = st.integers(-(10**36), 10**36) | st.integers(-EDGE, EDGE) | st.integers(-100, 100)
starting = st.lists(st.tuples(st.booleans(), st.integers(-MOST_UNITS, MOST_UNITS) | st.integers(-9, 9)), min_size=1)


def value(found: pl.Expr) -> int:
    """The number."""
    column = pl.select(found).to_series()
    assert column.dtype == pl.Int128
    return int(column.item())


def frame_of(numbers: list[int]) -> pl.DataFrame:
    return pl.DataFrame({"n": numbers}, schema={"n": pl.Int128})


@given(numbers, st.integers(1, 10**20) | st.integers(1, 9))
@example(5, 10)
@example(15, 10)
@example(-5, 10)
@example(-15, 10)
@example(EDGE - 1, EDGE - 1)
@example(10**20, 1)
def test_a_quotient_is_rounded_once_half_to_even(numerator: int, denominator: int) -> None:
    found = value(divide_half_even(int128(numerator), int128(denominator)))
    assert found == round(Fraction(numerator, denominator))  # half to even


@given(st.lists(st.tuples(numbers, st.integers(28, 31)), min_size=1))
def test_a_column_is_divided_row_by_row(rows: list[tuple[int, int]]) -> None:
    frame = frame_of([n for n, _ in rows]).with_columns(days=pl.Series([days for _, days in rows], dtype=pl.Int8))
    found = frame.select(divide_half_even(pl.col("n"), pl.col("days")))["n"]
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
    found = scaled_half_even(int128(quantity) * int128(price), int128(denominator), int128(keep), PERCENT)
    assert pl.select(found).item() == round(Fraction(quantity * price, denominator) * Fraction(keep, PERCENT))


@given(st.integers(-(10**30), 10**30), st.integers(0, 10))
def test_places_are_cut_half_to_even(units: int, places: int) -> None:
    unit = 10 ** (10 - places)
    assert value(round_half_even(int128(units), places)) == round(Fraction(units, unit)) * unit


@given(starting)
@example([(True, EDGE - 1), (False, EDGE - 1), (True, 1)])
def test_a_running_total_starts_anew_with_each_group_and_its_steps_undo_it(rows: list[tuple[bool, int]]) -> None:
    starts = [begins or not number for number, (begins, _) in enumerate(rows)]
    units, expected = [n for _, n in rows], list[int]()
    for begins, n in zip(starts, units, strict=True):
        expected.append(n if begins else expected[-1] + n)
    frame = frame_of(units).with_columns(starts=pl.Series(starts))
    running = cumulate(pl.col("n"), pl.col("starts"))
    assert frame.select(running)["n"].to_list() == expected
    assert frame.select(deltas(running, pl.col("starts")))["n"].to_list() == units


@given(st.lists(st.integers(-MOST_UNITS, MOST_UNITS), min_size=1))
def test_steps_of_one_group_add_up_to_the_way_from_zero(totals: list[int]) -> None:
    first = pl.int_range(pl.len()) == 0
    found = frame_of(totals).select(deltas(pl.col("n"), first))["n"].to_list()
    assert found == [after - before for before, after in pairwise([0, *totals])]

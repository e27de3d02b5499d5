"""The integer arithmetic of pricing against fractions.Fraction, at its bounds."""

from fractions import Fraction

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.compute.exact import before, divided_half_even, rounded, scaled_half_even, whole
from jobs.model.rates import MAX_PRICE
from jobs.model.scale import ONE

MOST_UNITS = 9 * 10**8 * ONE
PERCENT = 100 * ONE


def value(expression: pl.Expr) -> int:
    found: int = pl.select(expression).item()
    return found


def half_even(exact: Fraction) -> int:
    return round(exact)  # Fraction rounds half to even


@given(st.integers(-(10**36), 10**36), st.integers(1, 10**20))
@example(5, 10)
@example(15, 10)
@example(-5, 10)
@example(-15, 10)
def test_a_quotient_is_rounded_once_half_to_even(numerator: int, denominator: int) -> None:
    assert value(divided_half_even(whole(numerator), whole(denominator))) == half_even(Fraction(numerator, denominator))


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
    found = scaled_half_even(whole(quantity) * whole(price), whole(denominator), whole(keep), whole(PERCENT))
    assert value(found) == half_even(Fraction(quantity * price, denominator) * Fraction(keep, PERCENT))


@given(st.integers(-(10**30), 10**30), st.integers(0, 10))
def test_places_are_cut_half_to_even(units: int, places: int) -> None:
    unit = 10 ** (10 - places)
    assert value(rounded(whole(units), places)) == half_even(Fraction(units, unit)) * unit


@given(st.lists(st.tuples(st.booleans(), st.integers(0, MOST_UNITS)), min_size=1))
def test_a_running_total_starts_anew_with_each_group(rows: list[tuple[bool, int]]) -> None:
    expected, total = [], 0
    for number, (starts, units) in enumerate(rows):
        total = 0 if starts or not number else total
        expected.append(total)
        total += units
    frame = pl.DataFrame(
        {"starts": [starts or not number for number, (starts, _) in enumerate(rows)], "units": [u for _, u in rows]}
    )
    assert frame.select(before(pl.col("units"), pl.col("starts")))["units"].to_list() == expected

"""Amounts as a customer reads them: rounded parts add up to the rounded sum."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.fixed_point import ONE, scaled
from jobs.reports.amounts import format_number, quantize_parts, round_units, show_exactly, show_parts


@given(st.lists(st.integers(-(10**30), 10**30)), st.integers(0, 10))
def test_parts_add_up_to_the_rounded_sum(parts: list[int], places: int) -> None:
    shown, step = quantize_parts(parts, places), 10 ** (10 - places)
    assert sum(shown) == round(Fraction(sum(parts), step)) * step
    assert all(abs(one - exact) <= step for one, exact in zip(shown, parts, strict=True))
    assert all(one % step == 0 for one in shown)


def test_days_of_less_than_half_a_cent() -> None:
    shown = [amount.shown for amount in show_parts([scaled(Decimal("0.004"))] * 5, 2)]
    assert shown == ["0.00", "0.01", "0.00", "0.01", "0.00"]


def test_halves_go_to_the_even_one() -> None:
    assert [round_units(n * ONE // 200, 2) for n in (1, 3, -1, -3)] == [0, 2 * ONE // 100, 0, -2 * ONE // 100]


def test_exact_amounts_have_as_many_decimals_as_one_of_them_needs() -> None:
    assert [one.shown for one in show_exactly([ONE, -ONE // 8], 2)] == ["1.000", "\N{MINUS SIGN}0.125"]
    assert [one.shown for one in show_exactly([1234 * ONE], 2)] == ["1,234.00"]
    assert [(one.value, one.rounded) for one in show_exactly([-ONE], 2)] == [("-1.0000000000", Decimal(-1))]


def test_numbers_without_needless_zeros() -> None:
    assert [format_number(Decimal(text)) for text in ("1200", "0.0625000000", "1E+3")] == ["1,200", "0.0625", "1,000"]
    assert format_number(Decimal("0.1"), least=2) == "0.10"

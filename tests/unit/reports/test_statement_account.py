"""Balances before and after a month: shown only where the entries prove them."""

from datetime import date
from decimal import Decimal

import pytest

from jobs.postgres.statements import Balances, Entry
from jobs.reports.statement_account import find_balances, make_account

MONTH = date(2026, 6, 1)


def some(*numbers: int) -> list[Decimal] | None:
    return [Decimal(number) for number in numbers] or None


@pytest.mark.parametrize(
    ("balances", "expected"),
    [
        pytest.param((0, (0,), (5,), (), ()), (5, 5), id="no entry in the month"),
        pytest.param((0, (0, 5), (5, 25), (), ()), (25, 25), id="two entries of one moment before it"),
        pytest.param((20, (), (), (0,), (20,)), (0, 20), id="the first entries of all"),
        pytest.param((-3, (0,), (5,), (5,), (2,)), (5, 2), id="entries before and in it"),
        pytest.param((3, (0,), (5,), (5, 10), (10, 8)), (5, 8), id="two of one moment in it, 5 to 10 to 8"),
        pytest.param((-3, (0,), (5,), (6,), (3,)), None, id="a change without an entry between the months"),
        pytest.param((-3, (0,), (5,), (5,), (1,)), None, id="a change without an entry in the month"),
        pytest.param((0, (1, 2), (5, 6), (), ()), None, id="two ends of one moment"),
    ],
)
def test_balances(balances: tuple[int, tuple[int], tuple[int], tuple[int], tuple[int]], expected: object) -> None:
    amount, *edges = balances
    assert find_balances(Balances("ada", Decimal(amount), *(some(*edge) for edge in edges))) == expected


def test_what_was_taken_is_shown_by_kind_and_month() -> None:
    taken = Entry("ada", "usage", None, date(2026, 5, 1), Decimal(-5), Decimal(2), Decimal(3))
    back = Entry("ada", "usage", None, MONTH, Decimal(1), Decimal(0), Decimal(-1))
    others = Entry("ada", "usage", None, None, Decimal(-4), None, None)
    bought = Entry("ada", "purchase", date(2026, 6, 2), None, Decimal(10), None, None)
    found = Balances("ada", Decimal(2), some(0), some(20), some(20), some(22))
    made = make_account([taken, back, others, bought], found, MONTH, 2, is_over=True)
    assert made is not None
    assert [(line.name, line.amount.shown) for line in (made.opening, *made.entries, made.closing) if line] == [
        ("Balance at the start of June 2026", "20.00"),
        ("Free credits used for usage of May 2026", "\N{MINUS SIGN}2.00"),
        ("Purchased credits used for usage of May 2026", "\N{MINUS SIGN}3.00"),
        ("Purchased credits given back for usage of June 2026", "1.00"),
        ("Credits used", "\N{MINUS SIGN}4.00"),
        ("Credits purchased", "10.00"),
        ("Balance at the end of the month", "22.00"),
    ]


def test_an_amount_that_is_no_number_is_refused() -> None:
    entry = Entry("ada", "purchase", date(2026, 6, 2), None, Decimal("NaN"), None, None)
    with pytest.raises(ValueError, match="finite"):
        make_account([entry], Balances("ada", Decimal("NaN"), None, None, None, None), MONTH, 2, is_over=True)

"""Payments shared among charges: exact, in proportion, and the largest remainders first."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.reports.focus_rows import share_by_cost, share_columns

costs = st.lists(st.integers(0, 10**25), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("amount", "of", "shares"),
    [
        (10, [1, 1, 1], [4, 3, 3]),
        (10, [5, 3, 2], [5, 3, 2]),
        (7, [5, 3, 2], [4, 2, 1]),  # 3.5, 2.1, 1.4: the unit that is left goes to the first
        (9, [5, 3, 2], [4, 3, 2]),  # 4.5, 2.7, 1.8: two are left, for the second and the third
        (0, [5, 3], [0, 0]),
        (4, [0, 0], [0, 4]),
        (1, [5, -4], [5, -4]),
        (-3, [1, 1], [-1, -2]),
        (0, [], []),
    ],
)
def test_shares(amount: int, of: list[int], shares: list[int]) -> None:
    assert share_by_cost(amount, of) == shares


@given(amount=st.integers(0, 10**25), of=costs)
def test_shares_add_up_and_are_off_by_less_than_one_unit(amount: int, of: list[int]) -> None:
    shares = share_by_cost(amount, of)
    assert sum(shares) == amount
    if total := sum(of):
        assert all(abs(share - Fraction(amount * cost, total)) < 1 for share, cost in zip(shares, of, strict=True))


def test_each_amount_has_its_own_charges() -> None:
    assert share_columns([3, 0, 5], [2, 1, 1], [1, 2, 9, 7]) == [1, 2, 0, 5]

"""Debts: what credit settles, and what stays of the stored ones when a month is computed again."""

from datetime import date

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.credits.allocation import settle_debts
from jobs.credits.debts import compute_debts_target, sum_open_debts
from jobs.domain.schemas import PAYABLE, USER_AS_CATEGORY

MAY, DAY = date(2026, 5, 1), date(2026, 5, 31)
AMOUNTS = ("amount", "settled", "written_off")
DEBTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "usage_daily_id": pl.UInt128,
    "user_id": pl.String,
    "usage_date": pl.Date,
    **dict.fromkeys(AMOUNTS, pl.Int128),
    "reason": pl.String,
}
ROW = {"id": pl.UInt128, "user_id": pl.String, "date": pl.Date}


def after(debt: tuple[int, int, int], uncovered: int, posted: list[int]) -> list[tuple[int, ...]]:
    """What is owed for row 1 after its month was computed again: amount, settled and written off."""
    stored = pl.DataFrame([(1, "ada", DAY, *debt, "agreed")], schema=DEBTS, orient="row")
    rows = pl.DataFrame(
        [(1, "ada", DAY, MAY, uncovered)], schema=ROW | {"month": pl.Date, "uncovered": pl.Int128}, orient="row"
    )
    settled = pl.DataFrame(schema=ROW | {"free": pl.Int128, "purchased": pl.Int128})
    drawn = pl.Series(posted, dtype=pl.UInt128)
    return compute_debts_target(stored, [MAY], rows, settled, drawn).select(AMOUNTS).rows()


amounts = st.integers(0, 9)


@given(amounts, amounts, amounts, amounts)
@example(300, 100, 200, 40)
def test_never_more_is_written_off_than_is_owed(amount: int, settled: int, written_off: int, uncovered: int) -> None:
    found = after((amount, settled, written_off), uncovered, [1])
    assert found == ([(uncovered, 0, min(written_off, uncovered))] if uncovered else [])


@given(amounts, amounts, amounts)
def test_a_debt_stays_only_if_the_draws_of_its_row_do(settled: int, written_off: int, owed: int) -> None:
    """What was settled is drawn in the month itself once its draws are posted again."""
    debt = (settled + owed, settled, written_off)
    assert after(debt, owed, []) == [debt]
    assert after(debt, owed, [1]) == ([(owed, 0, min(written_off, owed))] if owed else [])


def test_what_is_neither_settled_nor_written_off_is_open() -> None:
    rows = [(1, "ada", DAY, 9, 2, 3, None), (2, "ada", DAY, 5, 0, 5, None), (3, "bob", DAY, 4, 1, 3, None)]
    assert sum_open_debts(pl.DataFrame(rows, schema=DEBTS, orient="row")).collect().rows() == [("ada", "4")]


@given(st.integers(1, 500), st.integers(0, 5), st.integers(0, 5))
@example(250, 1, 3)
def test_debts_are_settled_in_whole_units_of_the_ledger(owed: int, free: int, purchased: int) -> None:
    debt = dict.fromkeys(PAYABLE, 0) | {"user_id": "ada", "date": DAY, "month": MAY, "open": owed}
    lots = pl.LazyFrame({"user_id": ["ada"], "free_left": [free * 100], "purchased_left": [purchased * 100]})
    paid = settle_debts(pl.DataFrame([debt], schema=PAYABLE), lots.with_columns(USER_AS_CATEGORY), 100)
    whole = min(owed // 100, free + purchased)
    expected = [(min(whole, free) * 100, (whole - min(whole, free)) * 100)] if whole else []
    assert paid.select("free", "purchased").rows() == expected

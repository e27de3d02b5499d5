"""More and less credit while months are open, months that are closed, and a ledger that only grows."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest
from commands import ask
from prepaid import (
    BOTH_OPEN,
    JUNE,
    MAY,
    amounts,
    booked,
    deducted,
    drawn,
    entry,
    june,
    moved,
    night,
    others,
    paid,
    prepaid,
    repeats,
    reprice,
    row,
    sums,
    transactions,
    used,
)

MAY_31 = MAY.replace(day=31)
THIRTY = amounts("0", "0.30")


# More credit, and less


def test_a_top_up_settles_the_oldest_uncovered_row_first(ready: str) -> None:
    """Across the open months: May's row before June's, and a row that got a part before the next."""
    prepaid(ready, purchased="0.10")
    for number, day in ((1, MAY_31), (2, JUNE), (3, june(2))):
        row(ready, number, "0.30", day)
    night(ready, today=BOTH_OPEN)
    assert drawn(ready) == {1: amounts("0", "0.10")}
    others(ready, purchased="0.40")
    night(ready, today=BOTH_OPEN)
    assert booked(ready, after=1) == [entry(1, 2, MAY_31, "0", "0.20"), entry(2, 1, JUNE, "0", "0.20")]
    assert paid(ready, month=MAY) == sums(credits_purchased="0.30", credits_deducted="0.30")
    assert paid(ready) == sums(credits_purchased="0.20", credits_deducted="0.20", uncovered="0.40")
    repeats(ready, today=BOTH_OPEN)


@pytest.mark.thorough
def test_granted_credits_replace_purchased_ones(ready: str) -> None:
    """Free credits are spent first, also when they are granted later: no amount changes, so no transaction."""
    prepaid(ready, purchased="1.00")
    row(ready, 1, "0.30")
    night(ready)
    others(ready, type_="grant", granted="0.20")
    night(ready)
    assert booked(ready, after=1) == [entry(1, 2, june(20), "0.20", "-0.20")]
    assert (used(ready), transactions(ready, after=1)) == (amounts("0.20", "0.10"), [])
    assert deducted(ready) == {1: Decimal("0.30")}
    repeats(ready)


def test_a_refund_that_leaves_too_little_takes_draws_back(ready: str) -> None:
    """The youngest first; the balance is below 0 until we have given back, and then 0."""
    prepaid(ready, purchased="1.00")
    for number in (1, 2, 3):
        row(ready, number, "0.30", june(17 + number))
    night(ready)
    others(ready, type_="refund", purchased="-0.50")
    night(ready)
    assert booked(ready, after=1) == [entry(2, 2, june(19), "0", "-0.10"), entry(3, 2, june(20), "0", "-0.30")]
    assert (used(ready), paid(ready)["uncovered"]) == (amounts("0", "0.50"), Decimal("0.40"))
    assert transactions(ready, after=1) == moved("0.40 from -0.40 to 0.00")
    repeats(ready)


def test_credit_that_others_use_counts(ready: str) -> None:
    prepaid(ready, purchased="0.50")
    row(ready, 1, "0.30")
    night(ready)
    others(ready, type_="usage", used="0.40")
    night(ready)
    assert (drawn(ready), used(ready)) == ({1: amounts("0", "0.10")}, amounts("0", "0.50"))
    repeats(ready)


# Closed months


def prepare_closed(url: str) -> None:
    prepaid(url, purchased="0.20")
    row(url, 1, "0.30", MAY_31)
    row(url, 2, "0.30", june(5))
    night(url)
    assert ask(url, "SELECT month FROM rollup.months WHERE closed_at IS NOT NULL") == [{"month": MAY}]
    assert drawn(url) == {1: amounts("0", "0.20")}


@pytest.fixture
def closed(make_prepared: Callable[[Callable[[str], object]], str]) -> str:
    """May is closed: its row 1 of 0.30 drew 0.20, all there was, and row 2 in June nothing."""
    return make_prepared(prepare_closed)


def test_a_top_up_settles_what_a_closed_month_left_uncovered(closed: str) -> None:
    others(closed, purchased="0.25")
    night(closed)
    assert booked(closed, after=1) == [entry(1, 2, MAY_31, "0", "0.10"), entry(2, 1, june(5), "0", "0.15")]
    assert paid(closed, month=MAY) == sums(credits_purchased="0.30", credits_deducted="0.30")
    repeats(closed)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE usage_daily SET cpu_hours = 1 WHERE date < '2026-06-01'",
        "DELETE FROM usage_daily WHERE date < '2026-06-01'",
    ],
)
def test_a_closed_month_keeps_its_draws_whatever_its_usage_says_now(closed: str, change: str) -> None:
    ask(closed, change)
    assert night(closed)["rows_changed"] == 0
    assert (drawn(closed), used(closed)) == ({1: amounts("0", "0.20")}, amounts("0", "0.20"))
    repeats(closed)


def test_a_refund_takes_nothing_back_from_a_closed_month(closed: str) -> None:
    """What is missing then is missing until a purchase has filled the gap; what is left pays May's debt first."""
    others(closed, type_="refund", purchased="-0.15")
    night(closed)
    assert (booked(closed, after=1), used(closed)) == ([], amounts("0", "0.20"))
    others(closed, purchased="0.25")
    night(closed)
    assert drawn(closed) == {1: amounts("0", "0.30")}
    repeats(closed)


@pytest.mark.thorough
def test_a_row_that_leaves_a_closed_month_is_drawn_where_it_is_for_the_rest(closed: str) -> None:
    """May keeps its draws; credits_deducted tells all that was drawn on the row by its user."""
    others(closed, purchased="1.00")
    ask(closed, "UPDATE usage_daily SET date = '2026-06-04' WHERE id = %s", UUID(int=1))
    night(closed)
    assert booked(closed) == [
        entry(1, 1, MAY_31, "0", "0.20"),
        entry(1, 2, june(4), "0", "0.10"),
        entry(2, 1, june(5), "0", "0.30"),
    ]
    assert deducted(closed) == {1: Decimal("0.30"), 2: Decimal("0.30")}
    assert paid(closed, month=MAY)["credits_deducted"] == Decimal("0.20")
    assert paid(closed) == sums(credits_purchased="0.40", credits_deducted="0.40")
    repeats(closed)


# The ledger


@pytest.mark.thorough
def test_revisions_have_no_gaps(ready: str) -> None:
    """A correction is a new entry with the difference, and none where nothing differs."""
    prepaid(ready, granted="0.20", purchased="0.50")
    costs = ("0.30", "0.50", "0.50", "0.10", "0.90", "0.30")
    row(ready, 1, costs[0])
    for cost in costs:
        reprice(ready, 1, cost)
        night(ready)
    takes = [("0.20", "0.10"), ("0", "0.20"), ("-0.10", "-0.30"), ("0.10", "0.50"), ("0", "-0.40")]
    assert booked(ready) == [entry(1, n + 1, june(20), *both) for n, both in enumerate(takes)]
    assert used(ready) == amounts("0.20", "0.10")
    repeats(ready)


@pytest.mark.parametrize("table", ["credit_draws", "billing_modes", "corrections"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET run_id = 0", "DELETE FROM {}", "TRUNCATE {}"])
def test_what_is_posted_stays_posted(ready: str, table: str, statement: str) -> None:
    """The database itself refuses, to its superuser too."""
    prepaid(ready, purchased="1.00")
    row(ready, 1, "0.30")
    night(ready)
    correction = {"month": MAY, "user_id": "ada", "old_total": 1, "new_total": 2, "cause": "usage", "run_id": 1}
    with psycopg.connect(ready) as connection:
        names = ", ".join(correction)
        values = ", ".join(["%s"] * len(correction))
        text = f"INSERT INTO rollup.corrections ({names}) VALUES ({values})"
        connection.execute(text.encode(), list(correction.values()))
    before = ask(ready, f"SELECT * FROM rollup.{table}")
    assert before
    with pytest.raises(psycopg.Error, match="append-only"):
        ask(ready, statement.format(f"rollup.{table}"))
    assert ask(ready, f"SELECT * FROM rollup.{table}") == before

"""Rows that move after draws were booked: to another user, cluster, day or month."""

from decimal import Decimal
from uuid import UUID

import pytest
from commands import CLUSTER, add_row, ask, usage_jobs
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
    paid,
    prepaid,
    repeats,
    row,
    sums,
    transactions,
    used,
)

THIRTY = amounts("0", "0.30")
MAY_31 = MAY.replace(day=31)


def test_a_row_moves_to_another_prepaid_user(rich: str) -> None:
    ask(rich, "UPDATE usage_daily SET user_id = 'bob' WHERE id = %s", UUID(int=2))
    night(rich)
    assert booked(rich, after=1) == [entry(2, 2, june(19), "0", "-0.30")]
    assert booked(rich, "bob") == [entry(2, 1, june(19), "0", "0.20")]
    assert (used(rich), used(rich, "bob")) == (amounts("0", "0.60"), amounts("0", "0.20"))
    assert deducted(rich) == {1: Decimal("0.30"), 2: Decimal("0.20"), 3: Decimal("0.30")}
    assert (paid(rich, "bob")["uncovered"], transactions(rich, "bob")) == (
        Decimal("0.10"),
        moved("-0.20 from 0.20 to 0"),
    )
    repeats(rich)


@pytest.mark.thorough
@pytest.mark.parametrize("size", ["1", "1000000"])
def test_a_row_moves_to_a_postpaid_user_and_back(rich: str, size: str) -> None:
    """In one chunk or two: only the present user's writes credits_deducted."""
    for name, of_row in (("eve", 0), ("ada", Decimal("0.30"))):
        ask(rich, "UPDATE usage_daily SET user_id = %s WHERE id = %s", name, UUID(int=2))
        night(rich, USAGE_JOBS_BATCH_ROWS=size)
        assert (deducted(rich).get(2, 0), drawn(rich).get(2, (0, 0))[1]) == (of_row, of_row)
        repeats(rich)
    revisions = [found[1:] for found in booked(rich) if found[0] == 2]
    assert revisions == [entry(2, n, june(19), "0", take)[1:] for n, take in ((1, "0.30"), (2, "-0.30"), (3, "0.30"))]


def test_a_row_moves_to_another_cluster(rich: str) -> None:
    """Its draws stay, and are counted there."""
    add_row(rich, user_id="bob", hopsworks_cluster_id=CLUSTER)
    ask(rich, "UPDATE usage_daily SET hopsworks_cluster_id = %s WHERE id = %s", CLUSTER, UUID(int=2))
    night(rich)
    assert booked(rich, after=1) == []
    held = ask(rich, "SELECT cluster_id, credits_deducted FROM rollup.cluster_monthly")
    assert {one["cluster_id"]: one["credits_deducted"] for one in held} == {
        CLUSTER: Decimal("0.30"),
        None: Decimal("0.60"),
    }
    repeats(rich)


@pytest.mark.thorough
def test_another_cluster_is_another_place_in_the_row_order(poor: str) -> None:
    """Of two rows of a day the one without a cluster comes last; nothing is gained or lost, so no transaction."""
    ask(poor, "UPDATE usage_daily SET date = '2026-06-20', hopsworks_cluster_id = NULL")
    night(poor)
    assert booked(poor, after=1) == []
    ask(poor, "UPDATE usage_daily SET hopsworks_cluster_id = %s WHERE id = %s", CLUSTER, UUID(int=3))
    night(poor)
    assert drawn(poor) == {3: THIRTY, 2: amounts("0", "0.20")}
    assert transactions(poor, after=1) == []
    repeats(poor)


def test_a_row_moves_to_another_day(poor: str) -> None:
    """Its draws stand for the month; where that makes it the younger one, the other row is settled first."""
    ask(poor, "UPDATE usage_daily SET date = '2026-06-21' WHERE id = %s", UUID(int=2))
    tomorrow = june(22)
    night(poor, today=tomorrow)
    assert drawn(poor) == {3: THIRTY, 2: amounts("0", "0.20")}
    assert (transactions(poor, after=1), used(poor)) == ([], amounts("0", "0.50"))
    repeats(poor, today=tomorrow)


def test_a_row_moves_to_another_open_month(ready: str) -> None:
    prepaid(ready, purchased="1.00")
    row(ready, 1, "0.30", MAY_31)
    night(ready, today=BOTH_OPEN)
    assert paid(ready, month=MAY) == sums(credits_purchased="0.30", credits_deducted="0.30")
    ask(ready, "UPDATE usage_daily SET date = '2026-06-01'")
    row(ready, 2, "0.10", MAY_31, user_id="bob")
    night(ready, today=BOTH_OPEN)
    entries = booked(ready)
    assert entries[0] == entry(1, 1, MAY_31, "0", "0.30")
    assert [found[1] for found in entries] == [1, 2, 3]
    assert {found[2:] for found in entries[1:]} == {
        entry(1, 0, MAY_31, "0", "-0.30")[2:],
        entry(1, 0, JUNE, "0", "0.30")[2:],
    }
    assert paid(ready, month=MAY) == {}
    assert paid(ready) == sums(credits_purchased="0.30", credits_deducted="0.30")
    assert transactions(ready, after=1) == moved("0.30 from 0.70 to 1.00", "-0.30 from 1.00 to 0.70")
    repeats(ready, today=BOTH_OPEN)


def test_a_row_that_came_from_a_closed_month_is_not_drawn_twice(ready: str) -> None:
    """What May has drawn of it counts; a backfill of May gives that back, and June draws it again."""
    prepaid(ready, purchased="1.00")
    row(ready, 1, "0.30", MAY_31)
    row(ready, 2, "0.10", MAY_31, user_id="bob")  # or May would have no usage left
    night(ready, today=june(10))
    may = paid(ready, month=MAY)
    ask(ready, "UPDATE usage_daily SET date = '2026-06-05', cpu_hours = 4 WHERE user_id = 'ada'")
    promised = night(ready, "--dry-run", today=june(10))
    told = night(ready, today=june(10))
    assert told["changed"] == promised["changed"]
    assert told["rows_read"] == promised["rows_read"], "its draw is not taken for a first one, and then done again"
    assert booked(ready, after=1) == [entry(1, 2, june(5), "0", "0.10")]
    assert (used(ready), deducted(ready)) == (amounts("0", "0.40"), {1: Decimal("0.40")})
    assert paid(ready, month=MAY) == may == sums(credits_purchased="0.30", credits_deducted="0.30")
    assert paid(ready) == sums(credits_purchased="0.10", credits_deducted="0.10")
    repeats(ready, today=june(10))
    for words in (("reconcile", "--from", "2026-05-01"), ("explain", "--user", "ada", "--month", "2026-06")):
        assert usage_jobs(*words, url=ready, today=june(10)).code == 0
    # It costs less than May has drawn: nothing is drawn in June, nothing is owed.
    ask(ready, "UPDATE usage_daily SET cpu_hours = 1 WHERE user_id = 'ada'")
    night(ready, today=june(10))
    assert (used(ready), paid(ready)) == (amounts("0", "0.30"), sums())
    repeats(ready, today=june(10))

    late = ("backfill", "--from", "2026-05-01", "--to", "2026-05-31", "--reason", "moved", "--yes")
    assert usage_jobs(*late, url=ready, today=june(10)).code == 0
    assert (used(ready), paid(ready, month=MAY)) == (amounts("0", "0"), {})
    night(ready, today=june(10))
    assert (used(ready), paid(ready)) == (
        amounts("0", "0.10"),
        sums(credits_purchased="0.10", credits_deducted="0.10"),
    )
    repeats(ready, today=june(10))

"""Draws of prepaid credits: how much, of which kind, in which order, and what a run writes (manual: credits)."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from commands import CLUSTER, DAY, ask, contents, written
from prepaid import (
    account,
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
    user,
)

JULY = date(2026, 7, 1)
CENTS_OF_FIVE_DAYS = (0, 1, 0, 1, 0)
"""0.4, 0.8, 1.2, 1.6 and 2.0 cents round to 0, 1, 1, 2 and 2: what each of five days of 0.4 adds."""


def test_free_credits_first_and_the_oldest_day_first(ready: str) -> None:
    """Neither the order of insertion nor the ids decide; the last row that is reached gets what is left."""
    prepaid(ready, granted="0.50", purchased="0.40")
    row(ready, 1, "0.40", june(20))
    row(ready, 3, "0.30", june(18))
    row(ready, 2, "0.40", june(19))
    night(ready)
    assert drawn(ready) == {3: amounts("0.30", "0"), 2: amounts("0.20", "0.20"), 1: amounts("0", "0.20")}
    assert used(ready) == amounts("0.50", "0.40")
    assert deducted(ready) == {3: Decimal("0.30"), 2: Decimal("0.40"), 1: Decimal("0.20")}
    expected = sums(credits_free="0.50", credits_purchased="0.40", credits_deducted="0.90", uncovered="0.20")
    assert paid(ready) == expected
    assert transactions(ready) == moved("-0.30 from 0.90 to 0.60", "-0.40 from 0.60 to 0.20", "-0.20 from 0.20 to 0.00")
    repeats(ready)


def pennies(url: str, name: str) -> None:
    """A prepaid user whose 30 days of June cost 0.004 each."""
    prepaid(url, name, granted="0.05", purchased="1")
    text = (
        "INSERT INTO usage_daily (user_id, date, cpu_hours)"
        " SELECT %s, day, 0.04 FROM generate_series(date '2026-06-01', '2026-06-30', '1 day') AS day"
    )
    ask(url, text, name)


@pytest.mark.thorough
@pytest.mark.parametrize(("size", "days"), [("3", 30), ("7", 10), ("1000000", 30), ("1000000", 3)])
def test_small_days_are_drawn_as_the_rounded_whole(ready: str, size: str, days: int) -> None:
    """30 days of 0.004 cost 0.12, neither nothing nor a cent each: so many days a run, in chunks of that size."""
    names = ("ada",) if size == "3" else ("ada", "bob")
    for name in names:
        pennies(ready, name)
    for day in range(days, 31, days):
        night(ready, "--date", str(june(day)), today=JULY, USAGE_JOBS_BATCH_ROWS=size)
    for name in names:
        text = "SELECT credits_deducted * 100 AS cents FROM usage_daily WHERE user_id = %s ORDER BY date"
        assert [held["cents"] for held in ask(ready, text, name)] == [*CENTS_OF_FIVE_DAYS * 6]
        assert used(ready, name) == amounts("0.05", "0.07")
        assert sum(amount for amount, *_ in transactions(ready, name)) == Decimal("-0.12")
        assert len(booked(ready, name)) == 12, "a row whose draw is 0 is not booked"
    repeats(ready, today=JULY, USAGE_JOBS_BATCH_ROWS=size)


def only(url: str, query: str) -> dict[str, Any]:
    [found] = ask(url, query)
    return found


def test_the_four_writes(ready: str) -> None:
    prepaid(ready, granted="0.10", purchased="0.70", used="0.20")
    row(ready, 1, "0.30")
    report = night(ready)
    run_id = report["run_id"]
    assert booked(ready) == [entry(1, 1, DAY, "0.10", "0.20")]
    assert only(ready, "SELECT run_id FROM rollup.credit_draws") == {"run_id": run_id}
    assert used(ready) == amounts("0.10", "0.40")
    assert deducted(ready) == {1: Decimal("0.30")}
    written_one = only(ready, "SELECT * FROM credit_transactions")
    assert (written_one["user_id"], written_one["type"]) == ("ada", "usage")
    assert transactions(ready) == moved("-0.30 from 0.60 to 0.30")
    metadata = {"run_id": run_id, "schema": "rollup", "usage_date": "2026-06-20", "usage_daily_id": str(UUID(int=1))}
    told = {name: value for name, value in written_one["metadata"].items() if name not in ("free", "purchased")}
    assert told == metadata
    text = "SELECT (metadata->>'free')::numeric AS free, (metadata->>'purchased')::numeric AS purchased"
    kinds = only(ready, f"{text} FROM credit_transactions")
    assert tuple(kinds.values()) == amounts("0.10", "0.20")
    for name in ("credit_draws", "credit_transactions", "user_credits", "usage_daily"):
        assert report["changed"][name] == 1, name


def test_a_second_run_writes_nothing(ready: str) -> None:
    prepaid(ready, granted="0.10", purchased="0.10")
    for number in (1, 2, 3):
        row(ready, number, "0.10", june(17 + number))
    night(ready)
    before, counts = contents(ready, but=["rollup.runs"]), written(ready)
    report = night(ready)
    assert (report["rows_changed"], set(report["changed"].values())) == (0, {0})
    assert contents(ready, but=["rollup.runs"]) == before
    after = written(ready)
    assert {name for name in after if after[name] != counts[name]} == {"rollup.runs"}


BALANCES: dict[str, tuple[dict[str, str], str, str]] = {
    "purchased": ({"purchased": "0.25"}, "0", "0.25"),
    "free": ({"granted": "0.25"}, "0.25", "0"),
    "less than a cent": ({"purchased": "0.259"}, "0", "0.25"),
    "nothing": ({"purchased": "0.25", "used": "0.25"}, "0", "0"),
    "overdrawn": ({"purchased": "0.25", "used": "0.40"}, "0", "0"),
    "free less a deficit": ({"granted": "0.50", "purchased": "0.25", "used": "0.40"}, "0.35", "0"),
    "and back": ({"granted": "0.10", "free_used": "0.30", "purchased": "0.50"}, "0", "0.30"),
    "zeros": ({}, "0", "0"),
}
"""Accounts, and what a cost of 1.00 takes of free and of purchased credits."""


def test_a_balance_never_falls_below_zero(ready: str) -> None:
    """A cost of 1.00 takes what there is; a kind that others have overdrawn is made up by the other kind."""
    for number, (name, (held, _, _)) in enumerate(BALANCES.items(), start=1):
        prepaid(ready, name, **held)
        row(ready, number, "1.00", user_id=name)
    night(ready)
    for number, (name, (held, free, purchased)) in enumerate(BALANCES.items(), start=1):
        taken = Decimal(free) + Decimal(purchased)
        assert drawn(ready, name) == ({number: amounts(free, purchased)} if taken else {}), name
        assert paid(ready, name).get("uncovered", 0) == 1 - taken, name
        before = amounts(held.get("free_used", "0"), held.get("used", "0"))
        assert used(ready, name) == (before[0] + Decimal(free), before[1] + Decimal(purchased)), name
    repeats(ready)


def test_two_rows_on_a_day_are_drawn_in_the_row_order(ready: str) -> None:
    """By the cluster's id with null last, then by their own."""
    prepaid(ready, purchased="0.25")
    row(ready, 1, "0.10")
    row(ready, 3, "0.10", hopsworks_cluster_id=CLUSTER)
    row(ready, 2, "0.10", hopsworks_cluster_id=CLUSTER)
    night(ready)
    assert drawn(ready) == {2: amounts("0", "0.10"), 3: amounts("0", "0.10"), 1: amounts("0", "0.05")}
    for table in ("cluster_daily", "cluster_monthly"):
        held = ask(ready, f"SELECT cluster_id, credits_deducted FROM rollup.{table}")
        assert {found["cluster_id"]: found["credits_deducted"] for found in held} == {
            CLUSTER: Decimal("0.20"),
            None: Decimal("0.05"),
        }
    repeats(ready)


def test_no_account_no_draws(ready: str) -> None:
    """And none is made: an account is somebody else's to open."""
    user(ready)
    row(ready, 1, "0.30")
    account(ready, "bob", purchased="5")
    before = contents(ready)
    night(ready)
    assert paid(ready) == sums(uncovered="0.30")
    for table in ("public.user_credits", "public.credit_transactions", "public.usage_daily", "rollup.credit_draws"):
        assert contents(ready)[table] == before[table]
    account(ready, purchased="0.20")
    night(ready)
    assert (drawn(ready), paid(ready)["uncovered"]) == ({1: amounts("0", "0.20")}, Decimal("0.10"))
    repeats(ready)

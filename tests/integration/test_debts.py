"""Debts: what was not covered when a month closed is owed, and later credit settles it before it pays anything new."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from commands import ask, usage_jobs
from prepaid import (
    JUNE,
    MAY,
    amounts,
    deducted,
    drawn,
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

MAY_2, MAY_31 = date(2026, 5, 2), date(2026, 5, 31)
CLOSED = date(2026, 6, 4)
"""A run of this day closes May."""


def debts(url: str, name: str = "ada") -> dict[int, tuple[str, ...]]:
    """amount, settled and written_off by row."""
    text = "SELECT usage_daily_id AS id, amount, settled, written_off FROM rollup.debts WHERE user_id = %s ORDER BY 1"
    return {
        found["id"].int: tuple(format(found[key], ".2f") for key in ("amount", "settled", "written_off"))
        for found in ask(url, text, name)
    }


def test_credit_that_comes_after_the_close_settles_the_month(ready: str) -> None:
    """Before anything of an open month: in the ledger, the account, the row, the roll-ups, the cluster tables and the
    corrections; cost and hash of the closed month stay."""
    prepaid(ready, purchased="10")
    row(ready, 1, "4", MAY_2)
    row(ready, 2, "306", MAY_31)
    row(ready, 3, "5", JUNE)
    night(ready, today=CLOSED)
    assert debts(ready) == {2: ("300.00", "0.00", "0.00")}
    repeats(ready, today=CLOSED)
    frozen = ask(ready, "SELECT total_cost, usage_hash, rates_hash FROM rollup.user_monthly WHERE month = %s", MAY)
    others(ready, purchased="1000")
    report = night(ready, today=june(5))
    assert debts(ready) == {2: ("300.00", "300.00", "0.00")}
    assert drawn(ready) == {1: amounts("0", "4"), 2: amounts("0", "306"), 3: amounts("0", "5")}
    assert (deducted(ready)[2], used(ready)) == (Decimal(306), amounts("0", "315"))
    assert paid(ready, month=MAY) == sums(credits_purchased="310", credits_deducted="310")
    assert (
        ask(ready, "SELECT total_cost, usage_hash, rates_hash FROM rollup.user_monthly WHERE month = %s", MAY) == frozen
    )
    assert transactions(ready, after=2) == moved("-300 from 1000 to 700", "-5 from 700 to 695")
    [change] = ask(ready, "SELECT month, cause, old_total, new_total FROM rollup.corrections")
    assert change == {"month": MAY, "cause": "credit", "old_total": 310, "new_total": 310}
    [cluster] = ask(ready, "SELECT credits_deducted FROM rollup.cluster_monthly WHERE month = %s", MAY)
    assert cluster["credits_deducted"] == 310
    assert report["changed"]["debts"] == 1
    repeats(ready, today=june(5))


@pytest.fixture
def owing(ready: str) -> str:
    """May is closed; ada owes 300 for its last day."""
    prepaid(ready, purchased="10")
    row(ready, 1, "310", MAY_31)
    night(ready, today=CLOSED)
    assert debts(ready) == {1: ("300.00", "0.00", "0.00")}
    return ready


def test_debts_are_listed_and_written_off(owing: str) -> None:
    listed = usage_jobs("debts", url=owing, today=CLOSED).out
    assert "300 USD open of 1 user" in listed
    for words in (("--write-off",), ("--write-off", "--user", "ada"), ("--write-off", "--reason", "x")):
        refused = usage_jobs("debts", *words, url=owing, today=CLOSED)
        assert (refused.code, "expected --user ID and --reason TEXT" in refused.err) == (2, True)
    assert usage_jobs("debts", "--write-off", "--user", "bob", "--reason", "x", url=owing, today=CLOSED).code == 2
    done = ("debts", "--write-off", "--user", "ada", "--reason", "agreed", "--json")
    assert usage_jobs(*done, url=owing, today=CLOSED).object["written_off"] == "300.0000000000"
    assert debts(owing) == {1: ("300.00", "0.00", "300.00")}
    told = usage_jobs("explain", "--user", "ada", "--month", "2026-05", url=owing, today=CLOSED).out.split()
    assert "uncovered when the month closed: 300; settled since: 0, written off: 300, still owed: 0" in " ".join(told)
    [log] = ask(owing, "SELECT kind, status, reason FROM rollup.runs ORDER BY run_id DESC LIMIT 1")
    assert log == {"kind": "write-off", "status": "done", "reason": "agreed"}
    others(owing, purchased="1000")
    night(owing, today=june(5))
    assert (drawn(owing), used(owing)) == ({1: amounts("0", "10")}, amounts("0", "10"))
    repeats(owing, today=june(5))


def test_a_backfill_writes_debts_anew(owing: str) -> None:
    """What was settled of a debt is drawn in its month; a write-off is kept up to what is uncovered then."""
    others(owing, purchased="100")
    night(owing, today=june(5))
    assert debts(owing) == {1: ("300.00", "100.00", "0.00")}
    write_off = ("debts", "--write-off", "--user", "ada", "--reason", "agreed")
    assert usage_jobs(*write_off, url=owing, today=june(5)).code == 0
    reprice(owing, 1, "150")
    backfill = ("backfill", "--from", "2026-05-01", "--to", "2026-05-31", "--reason", "counted twice", "--yes")
    done = usage_jobs(*backfill, "--json", url=owing, today=june(5))
    assert (done.code, debts(owing)) == (0, {1: ("40.00", "0.00", "40.00")})
    reprice(owing, 1, "100")
    assert usage_jobs(*backfill, url=owing, today=june(5)).code == 0
    assert (debts(owing), used(owing)) == ({}, amounts("0", "100"))
    repeats(owing, today=june(5))


def test_a_month_that_is_opened_again_takes_its_debts_with_it(owing: str) -> None:
    words = ("reopen", "--month", "2026-05", "--reason", "too early")
    assert usage_jobs(*words, url=owing, today=june(5)).code == 0
    assert usage_jobs("debts", "--json", url=owing, today=june(5)).object == {"debts": [], "open": "0"}
    others(owing, purchased="50")
    night(owing, today=june(5))
    assert (drawn(owing), debts(owing)) == ({1: amounts("0", "60")}, {1: ("250.00", "0.00", "0.00")})
    repeats(owing, today=june(5))


def test_a_row_that_moved_after_the_close_is_owed_for_in_both_months(owing: str) -> None:
    """What was written off of it in the first is not written off of the second."""
    words = ("debts", "--write-off", "--user", "ada", "--reason", "agreed")
    assert usage_jobs(*words, url=owing, today=CLOSED).code == 0
    ask(owing, "UPDATE usage_daily SET date = %s", JUNE)
    night(owing, today=date(2026, 7, 4))
    both = ask(
        owing, "SELECT extract(month FROM usage_date) AS month, amount, written_off FROM rollup.debts ORDER BY 1"
    )
    assert [tuple(map(int, found.values())) for found in both] == [(5, 300, 300), (6, 300, 0)]
    others(owing, purchased="1000")
    night(owing, today=date(2026, 7, 5))
    assert (drawn(owing), used(owing)) == ({1: amounts("0", "310")}, amounts("0", "310"))
    repeats(owing, today=date(2026, 7, 5))


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM usage_daily",
        "UPDATE usage_daily SET user_id = 'bob'",
        "UPDATE usage_daily SET hopsworks_cluster_id = gen_random_uuid()",
    ],
)
def test_a_debt_waits_for_a_backfill_where_its_row_is_another_now(owing: str, change: str) -> None:
    others(owing, purchased="1000")
    ask(owing, change)
    assert night(owing, today=june(5))["users_recomputed"] == 0
    assert debts(owing) == {1: ("300.00", "0.00", "0.00")}


def test_a_dry_run_says_what_is_settled(owing: str) -> None:
    """Of a user who has no usage in an open month. It is no change of covered days: none needs a token."""
    others(owing, purchased="400")
    least: Any = dict.fromkeys(("USAGE_JOBS_MAX_CHANGE", "USAGE_JOBS_MAX_CHANGE_AMOUNT"), "0")
    tried = night(owing, "--dry-run", today=june(5), **least)
    done = night(owing, today=june(5), **least)
    assert tried["changed"] == done["changed"]
    assert {name: done["changed"][name] for name in ("debts", "corrections", "user_daily", "cluster_daily")} == {
        "debts": 1,
        "corrections": 1,
        "user_daily": 1,
        "cluster_daily": 1,
    }

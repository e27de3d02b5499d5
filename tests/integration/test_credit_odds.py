"""Rows that leave the days of a run, accounts that come and go, values that are no numbers: draws follow them."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

import pytest
from commands import ask, insert, usage_jobs
from holding import holding
from prepaid import (
    BOTH_OPEN,
    MAY,
    account,
    amounts,
    booked,
    deducted,
    drawn,
    entry,
    june,
    last_run,
    night,
    paid,
    prepaid,
    repeats,
    reprice,
    row,
    sums,
    transactions,
    used,
    user,
)

THIRTY = amounts("0", "0.30")


def prepare_two(url: str) -> None:
    prepaid(url, purchased="1.00")
    prepaid(url, "bob", purchased="1.00")
    row(url, 1, "0.30", june(19))
    row(url, 2, "0.30", june(20))
    night(url)


@pytest.fixture
def two(make_prepared: Callable[[Callable[[str], object]], str]) -> str:
    """May is closed; rows 1 and 2 on 19 and 20 June have drawn 0.30 each of 1.00."""
    return make_prepared(prepare_two)


def change(url: str, changes: str, number: int = 1) -> None:
    ask(url, f"UPDATE usage_daily SET {changes} WHERE id = %s", UUID(int=number))


LEAVES = ("2026-06-25", "2026-07-02", "2026-05-20", "2025-01-01")
"""Days that are still to come, and days of closed months."""
REJECTED = ("user_id = NULL", "date = NULL", "date = 'infinity'", "cpu_hours = -1", "total_cost = 'NaN'")


def test_rows_that_leave_the_days_of_the_run_or_are_rejected_have_no_draws(ready: str) -> None:
    """Nothing stands on them, and credits_deducted says so; each is of a user of its own."""
    changes = [*(f"date = '{day}'" for day in LEAVES), *REJECTED]
    for number, _ in enumerate(changes):
        prepaid(ready, f"user {number}", purchased="1.00")
        for day in (19, 20):
            row(ready, 100 * day + number, "0.30", june(day), user_id=f"user {number}")
    night(ready)
    for number, text in enumerate(changes):
        change(ready, text, 1900 + number)
    night(ready, code=3)
    for number, text in enumerate(changes):
        back = [entry(1900 + number, 2, june(19), "0", "-0.30")]
        assert (booked(ready, f"user {number}", after=1), used(ready, f"user {number}")) == (back, THIRTY), text
    assert deducted(ready) == {2000 + number: Decimal("0.30") for number, _ in enumerate(changes)}
    repeats(ready, code=3)


@pytest.mark.thorough
def test_a_row_becomes_bad_and_another_users_at_once_and_heals_there(two: str) -> None:
    change(two, "user_id = 'bob', cpu_hours = 'NaN'")
    night(two, code=3)
    assert (drawn(two), drawn(two, "bob"), deducted(two)) == ({2: THIRTY}, {}, {2: Decimal("0.30")})
    repeats(two, code=3)
    reprice(two, 1, "0.10")
    night(two)
    assert (booked(two, "bob"), deducted(two)[1]) == ([entry(1, 1, june(19), "0", "0.10")], Decimal("0.10"))
    repeats(two)


def test_two_rows_change_places_between_users(two: str) -> None:
    row(two, 3, "0.20", june(19), user_id="bob")
    night(two)
    change(two, "user_id = 'bob'", 1)
    change(two, "user_id = 'ada'", 3)
    night(two)
    assert drawn(two) == {2: THIRTY, 3: amounts("0", "0.20")}
    assert drawn(two, "bob") == {1: THIRTY}
    assert (used(two), used(two, "bob")) == (amounts("0", "0.50"), THIRTY)
    repeats(two)


def test_an_account_that_is_closed_keeps_what_was_drawn(two: str) -> None:
    """There is nothing to give back to; what the row costs more is uncovered."""
    ask(two, "DELETE FROM user_credits WHERE user_id = 'ada'")
    reprice(two, 1, "0.50")
    night(two)
    assert booked(two, after=1) == []
    assert paid(two) == sums(credits_purchased="0.60", credits_deducted="0.60", uncovered="0.20")
    assert night(two)["rows_changed"] == 0


def test_a_user_who_leaves_users_pays_as_before(two: str) -> None:
    """The history knows how; a row that is gone says nothing else."""
    ask(two, "DELETE FROM users WHERE id = 'ada'")
    row(two, 3, "0.20", june(21), user_id="bob")
    insert(two, "usage_daily", id=UUID(int=4), user_id="ada", date=june(21), cpu_hours=1)
    night(two, today=june(22))
    assert drawn(two) == {1: THIRTY, 2: THIRTY, 4: amounts("0", "0.10")}
    repeats(two, today=june(22))


def test_amounts_of_an_account_that_are_null_are_zero(ready: str) -> None:
    user(ready)
    insert(ready, "user_credits", user_id="ada", total_purchased=1, total_used=None, free_credits_granted=None,
           free_credits_used=None)  # fmt: skip
    row(ready, 1, "0.30")
    night(ready)
    [held] = ask(ready, "SELECT total_used, coalesce(free_credits_used, 0) AS free FROM user_credits")
    assert held == {"total_used": Decimal("0.30"), "free": 0}
    repeats(ready)


def test_a_deduction_that_is_no_number_is_not_adopted(ready: str) -> None:
    for number, (name, value) in enumerate((("ada", "NaN"), ("bob", "Infinity"), ("cyd", "-Infinity")), start=1):
        prepaid(ready, name, purchased="1.00")
        row(ready, number, "0.30", user_id=name, credits_deducted=value)
    night(ready)
    for number, name in enumerate(("ada", "bob", "cyd"), start=1):
        assert booked(ready, name) == [entry(number, 1, june(20), "0", "0.30")]
    assert deducted(ready) == dict.fromkeys((1, 2, 3), Decimal("0.30"))
    repeats(ready)


def test_a_run_without_accounts_leaves_adoption_to_one_that_has_them(ready: str) -> None:
    """It draws nothing, so credits_deducted is not ours yet: what it says is still what was paid."""
    ask(ready, "ALTER TABLE user_credits RENAME TO aside")
    user(ready)
    row(ready, 1, "0.30", credits_deducted="0.20")
    night(ready)
    assert (booked(ready), deducted(ready)) == ([], {1: Decimal("0.20")})
    ask(ready, "ALTER TABLE aside RENAME TO user_credits")
    account(ready, purchased="1.00", used="0.20")
    night(ready)
    assert booked(ready) == [entry(1, 0, june(20), "0", "0.20"), entry(1, 1, june(20), "0", "0.10")]
    assert used(ready) == THIRTY
    repeats(ready)


def test_imported_draws_stay_where_their_row_moves(ready: str) -> None:
    """To another day and month: it is prepaid still, and costs nobody more."""
    user(ready, mode="postpaid")
    account(ready, purchased="1.00", used="0.30")
    row(ready, 1, "0.30", MAY.replace(day=31), credits_deducted="0.30")
    row(ready, 2, "0.10", MAY.replace(day=31), user_id="bob")
    night(ready, today=BOTH_OPEN)
    change(ready, "date = '2026-06-02'")
    night(ready, today=BOTH_OPEN)
    assert (paid(ready, month=MAY), used(ready)) == ({}, THIRTY)
    assert paid(ready) == sums(credits_purchased="0.30", credits_deducted="0.30")
    repeats(ready, today=BOTH_OPEN)


def test_a_rated_cost_and_its_draw_are_written_together(ready: str) -> None:
    prepaid(ready, purchased="1.00")
    for number in range(1, 11):
        row(ready, number, "0.004", june(number))
    report = night(ready, USAGE_JOBS_COST="rated")
    assert report["changed"]["usage_daily"] == 10
    [held] = ask(ready, "SELECT sum(total_cost) AS cost, sum(credits_deducted) AS drawn FROM usage_daily")
    assert (held["cost"], held["drawn"], used(ready)) == (Decimal("0.04"), Decimal("0.04"), amounts("0", "0.04"))
    repeats(ready, USAGE_JOBS_COST="rated")


@pytest.mark.thorough
def test_a_dry_run_shows_corrections(two: str) -> None:
    """As a run does them, with nothing booked."""
    reprice(two, 1, "0.90")
    row(two, 3, "0.20", june(18))
    change(two, "user_id = 'bob'", 2)
    dry = night(two, "--dry-run")
    assert (booked(two, after=1), transactions(two, after=1), last_run(two)) == ([], [], 1)
    real = night(two)
    same = ("changed", "credits", "total_cost", "rows_read")
    assert {name: dry[name] for name in same} == {name: real[name] for name in same}
    repeats(two)


def test_a_day_that_is_not_covered_yet_is_not_drawn(ready: str) -> None:
    prepaid(ready, purchased="1.00")
    row(ready, 1, "0.30", june(20))
    night(ready, "--date", "2026-06-19")
    assert (booked(ready), used(ready)) == ([], amounts("0", "0"))


def test_an_account_that_is_too_large_is_named_once_and_left_as_it_is(ready: str) -> None:
    """As some programs write "unlimited": no run can compute with it, and none computes its user again for it."""
    prepaid(ready, purchased=str(2**63 - 1))
    row(ready, 1, "0.40")
    [note] = [note for note in night(ready)["notes"] if "user_credits" in note]
    assert "user_credits of ada: some amounts are no numbers, or not below 10^18" in note
    assert night(ready)["users_recomputed"] == 0
    assert drawn(ready) == {}
    ask(ready, "UPDATE user_credits SET total_purchased = 9")
    assert night(ready)["users_recomputed"] == 1
    assert drawn(ready) == {1: amounts("0", "0.40")}


def test_a_drawn_row_that_is_rejected_while_its_account_is_no_number_is_written_once(ready: str) -> None:
    prepaid(ready, purchased="10")
    row(ready, 1, "3")
    night(ready)
    ask(ready, "UPDATE user_credits SET total_purchased = 'NaN'")
    ask(ready, "UPDATE usage_daily SET cpu_hours = -1")
    night(ready, code=3)
    assert (night(ready, "--full", code=3)["rows_changed"], deducted(ready)) == (0, {1: Decimal(3)})


def test_a_reject_whose_numbers_are_written_otherwise_stays_as_it_is(ready: str) -> None:
    row(ready, 1, "1", user_id="bob", gpu_hours=Decimal("12.50"))
    ask(ready, "UPDATE usage_daily SET date = 'infinity'")
    row(ready, 2, "1", user_id="bob")
    night(ready, code=3)
    ask(ready, "ALTER TABLE usage_daily ALTER gpu_hours TYPE numeric(12, 4)")
    night(ready, code=3)
    assert night(ready, code=3)["rows_changed"] == 0


@pytest.mark.thorough
def test_a_rejected_row_of_a_user_who_is_locked_stays_rejected(ready: str) -> None:
    prepaid(ready, purchased="10")
    prepaid(ready, "zed", purchased="10")
    row(ready, 1, "1")
    row(ready, 2, "1", user_id="zed")
    ask(ready, "UPDATE usage_daily SET cpu_hours = 'NaN' WHERE id = %s", UUID(int=1))
    night(ready, code=3)
    ask(ready, "UPDATE usage_daily SET cpu_hours = 7, user_id = 'zed' WHERE id = %s", UUID(int=1))
    row(ready, 3, "1")
    with holding(ready, "SELECT FROM user_credits WHERE user_id = 'zed' FOR UPDATE"):
        assert night(ready, code=3)["rows_rejected"] == 1
    assert night(ready)["rows_rejected"] == 0
    assert drawn(ready, "zed") == {1: amounts("0", "0.7"), 2: amounts("0", "1")}


def test_who_is_locked_leaves_the_batch_whole_and_the_others_stay_together(ready: str) -> None:
    """His bad row is rejected when he is written; the others are written in one transaction."""
    for number, name in enumerate(("ada", "max", "zed"), start=1):
        prepaid(ready, name, purchased="10")
        row(ready, number, "1", user_id=name)
    row(ready, 4, "1", user_id="max", cpu_hours=Decimal(-1))
    rejected = "SELECT usage_daily_id FROM rollup.rejects"
    assert usage_jobs("check", url=ready).code == 0  # the role of a further way gets its policies before the lock
    with holding(ready, f"SELECT FROM usage_daily WHERE id = '{UUID(int=2)}' FOR UPDATE"):
        night(ready)
        assert (drawn(ready), drawn(ready, "max")) == ({1: amounts("0", "1")}, {})
        assert ask(ready, "SELECT count(DISTINCT xmin::text) AS n FROM rollup.credit_draws") == [{"n": 1}]
        assert ask(ready, rejected) == []
    night(ready, code=3)
    assert (drawn(ready, "max"), len(ask(ready, rejected))) == ({2: amounts("0", "1")}, 1)


def test_a_drawn_row_that_moves_to_a_user_of_a_later_batch_is_no_foreign_write(ready: str) -> None:
    """The first batch gives back what the row shows; the second finds it there."""
    prepaid(ready, purchased="10")
    prepaid(ready, "zed", purchased="10")
    row(ready, 1, "2")
    row(ready, 2, "1")
    row(ready, 3, "1", user_id="zed")
    night(ready)
    ask(ready, "UPDATE usage_daily SET user_id = 'zed' WHERE id = %s", UUID(int=1))
    assert night(ready, USAGE_JOBS_BATCH_ROWS="1", USAGE_JOBS_WORKERS="1")["notes"] == []
    assert (used(ready), used(ready, "zed")) == (amounts("0", "1"), amounts("0", "3"))
    repeats(ready)


@pytest.mark.parametrize("day", ["NULL", "'infinity'"])
def test_a_row_without_a_day_that_moves_shows_what_its_user_has_drawn(ready: str, day: str) -> None:
    """No batch sees it. Its draws stay with the user who has them, as long as his account is no number."""
    prepaid(ready, purchased="10")
    prepaid(ready, "zed", purchased="10")
    row(ready, 1, "3")
    row(ready, 2, "1")
    night(ready)
    ask(ready, "UPDATE user_credits SET total_purchased = 'NaN' WHERE user_id = 'ada'")
    ask(ready, f"UPDATE usage_daily SET date = {day} WHERE id = %s", UUID(int=1))
    assert night(ready, code=3)["changed"]["usage_daily"] == 0
    change(ready, "user_id = 'zed'")
    assert night(ready, "--dry-run", code=3)["changed"]["usage_daily"] == 1
    assert night(ready, code=3)["changed"]["usage_daily"] == 1
    assert (deducted(ready), drawn(ready)) == ({2: Decimal(1)}, {1: amounts("0", "3"), 2: amounts("0", "1")})
    assert night(ready, code=3)["rows_changed"] == 0

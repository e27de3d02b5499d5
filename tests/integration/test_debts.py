"""Debts: what was not covered when a month closed is owed, and later credit settles it before it pays anything new."""

from collections.abc import Callable
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
    user,
)
from restoring import APPLICATION, copy, restore, tables_of

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
    sums_of = [f"{when}_{name}" for when in ("old", "new") for name in ("total", "credits_deducted", "amount_due")]
    [change] = ask(ready, f"SELECT month, cause, {', '.join(sums_of)} FROM rollup.corrections")
    before_and_after = (310, 10, 0, 310, 310, 0)
    assert change == {"month": MAY, "cause": "credit", **dict(zip(sums_of, before_and_after, strict=True))}
    [cluster] = ask(ready, "SELECT credits_deducted FROM rollup.cluster_monthly WHERE month = %s", MAY)
    assert cluster["credits_deducted"] == 310
    assert report["changed"]["debts"] == 1
    repeats(ready, today=june(5))


def prepare_owing(url: str) -> None:
    prepaid(url, purchased="10")
    row(url, 1, "310", MAY_31)
    night(url, today=CLOSED)
    assert debts(url) == {1: ("300.00", "0.00", "0.00")}


@pytest.fixture
def owing(make_prepared: Callable[[Callable[[str], object]], str]) -> str:
    """May is closed; ada owes 300 for its last day."""
    return make_prepared(prepare_owing)


def test_debts_are_listed_and_written_off(owing: str) -> None:
    listed = usage_jobs("debts", url=owing, today=CLOSED).out
    assert "300.00 USD open of 1 user" in listed
    for words in (("--write-off",), ("--write-off", "--user", "ada"), ("--write-off", "--reason", "x")):
        refused = usage_jobs("debts", *words, url=owing, today=CLOSED)
        assert (refused.code, "expected --user ID and --reason TEXT" in refused.err) == (2, True)
    assert usage_jobs("debts", "--write-off", "--user", "bob", "--reason", "x", url=owing, today=CLOSED).code == 2
    done = ("debts", "--write-off", "--user", "ada", "--reason", "agreed", "--json")
    assert usage_jobs(*done, url=owing, today=CLOSED).object["written_off"] == "300.0000000000"
    assert debts(owing) == {1: ("300.00", "0.00", "300.00")}
    told = usage_jobs("explain", "--user", "ada", "--month", "2026-05", url=owing, today=CLOSED).out.split()
    assert "when the month closed: 300.00; settled since: 0.00, written off: 300.00, still owed: 0.00 USD" in " ".join(
        told
    )
    [log] = ask(owing, "SELECT kind, status, reason FROM rollup.runs ORDER BY run_id DESC LIMIT 1")
    assert log == {"kind": "write-off", "status": "done", "reason": "agreed"}
    others(owing, purchased="1000")
    night(owing, today=june(5))
    assert (drawn(owing), used(owing)) == ({1: amounts("0", "10")}, amounts("0", "10"))
    repeats(owing, today=june(5))


def test_a_write_off_covers_the_months_of_all_that_is_owed(owing: str) -> None:
    row(owing, 2, "1", JUNE)
    night(owing, today=date(2026, 7, 4))
    words = ("debts", "--write-off", "--user", "ada", "--reason", "agreed")
    assert usage_jobs(*words, url=owing, today=date(2026, 7, 5)).code == 0
    [log] = ask(owing, "SELECT window_from, window_to, rows_changed FROM rollup.runs WHERE kind = 'write-off'")
    assert tuple(log.values()) == (MAY, date(2026, 6, 30), 2)


def test_a_backfill_of_the_open_month_settles_debts(owing: str) -> None:
    """Of a month that is not its own: shown among the changes, not among the months of its plan."""
    others(owing, purchased="1000")
    row(owing, 2, "5", JUNE)
    backfill = ("backfill", "--from", "2026-06-01", "--to", "2026-06-01", "--json")
    plan = usage_jobs(*backfill, "--dry-run", url=owing, today=june(5))
    assert (plan.code, [month["month"] for month in plan.object["plan"]["months"]]) == (0, ["2026-06-01"])
    assert {change["month"] for change in plan.object["plan"]["changes"]} == {"2026-05-01", "2026-06-01"}
    assert usage_jobs(*backfill, "--yes", url=owing, today=june(5)).code == 0
    assert debts(owing) == {1: ("300.00", "300.00", "0.00")}
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


@pytest.mark.thorough
@pytest.mark.parametrize("credit", ["100", "1000"])
def test_a_backfill_leaves_a_settled_debt_of_which_nothing_changes(owing: str, credit: str) -> None:
    """Settled in part or whole: a backfill that is limited to another user is not refused for it."""
    user(owing, "bob", "postpaid")
    row(owing, 9, "5", MAY_2, user_id="bob")
    others(owing, purchased=credit)
    night(owing, today=june(5))
    before = debts(owing)
    backfill = ("backfill", "--from", "2026-05-01", "--to", "2026-05-31", "--reason", "bob came late", "--yes")
    done = usage_jobs(*backfill, "--user", "bob", "--json", url=owing, today=june(5))
    assert (done.code, debts(owing)) == (0, before)
    assert usage_jobs(*backfill, "--json", url=owing, today=june(5)).object["rows_changed"] == 0


def test_a_month_that_is_opened_again_takes_its_debts_with_it(owing: str) -> None:
    words = ("reopen", "--month", "2026-05", "--reason", "too early")
    assert usage_jobs(*words, url=owing, today=june(5)).code == 0
    assert usage_jobs("debts", "--json", url=owing, today=june(5)).object == {"debts": [], "open": "0"}
    others(owing, purchased="50")
    night(owing, today=june(5))
    assert (drawn(owing), debts(owing)) == ({1: amounts("0", "60")}, {1: ("250.00", "0.00", "0.00")})
    repeats(owing, today=june(5))


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_who_pays_otherwise_now_still_owes(owing: str) -> None:
    """What he owes is settled by credit that comes; nothing else is drawn of it."""
    ask(owing, "UPDATE users SET billing_mode = 'postpaid'")
    row(owing, 2, "5", june(4))
    night(owing, today=june(5))
    assert debts(owing) == {1: ("300.00", "0.00", "0.00")}
    others(owing, purchased="1000")
    night(owing, today=june(6))
    assert (debts(owing), drawn(owing)) == ({1: ("300.00", "300.00", "0.00")}, {1: amounts("0", "310")})
    assert paid(owing)["amount_due"] == 5
    repeats(owing, today=june(6))


@pytest.mark.thorough
def test_a_debt_of_a_backfill_comes_before_open_months(ready: str) -> None:
    """Of May and June. The next run settles it by what was drawn in June, as `--full` would."""
    prepaid(ready, purchased="20")
    row(ready, 1, "10", MAY_31)
    row(ready, 2, "8", JUNE)
    night(ready, today=CLOSED)
    reprice(ready, 1, "15")
    backfill = ("backfill", "--from", "2026-05-01", "--to", "2026-06-04", "--reason", "counted too low", "--yes")
    assert usage_jobs(*backfill, url=ready, today=june(5)).code == 0
    assert (debts(ready), drawn(ready)) == (
        {1: ("3.00", "0.00", "0.00")},
        {1: amounts("0", "12"), 2: amounts("0", "8")},
    )
    night(ready, today=june(5))
    assert (debts(ready), drawn(ready)) == (
        {1: ("3.00", "3.00", "0.00")},
        {1: amounts("0", "15"), 2: amounts("0", "5")},
    )
    assert (used(ready), paid(ready)["uncovered"]) == (amounts("0", "20"), Decimal(3))
    repeats(ready, today=june(5))
    assert night(ready, "--full", today=june(5))["rows_changed"] == 0


# Restored copies


@pytest.fixture
def restored(owing: str) -> str:
    """Ada paid 100 of what she owed on the 5th of June. After the night in which she paid 40 more an older dump of
    rollup, of the 5th, is restored."""
    others(owing, purchased="100")
    night(owing, today=june(5))
    ours = tables_of(owing, "rollup")
    copy(owing, ours)
    others(owing, purchased="40")
    night(owing, today=june(6))
    restore(owing, ours)
    assert (debts(owing), deducted(owing)[1]) == ({1: ("300.00", "100.00", "0.00")}, Decimal(150))
    return owing


def set_aside(url: str) -> str:
    """Why ada is."""
    [found] = ask(url, "SELECT user_id, reason FROM rollup.set_aside")
    assert found["user_id"] == "ada"
    return str(found["reason"])


def test_a_debt_that_was_paid_is_not_paid_again(restored: str) -> None:
    """Although nothing else of ada is looked at: she has no usage in an open month."""
    others(restored, purchased="500")
    before = (used(restored), drawn(restored), transactions(restored))
    assert night(restored, "--dry-run", today=june(7), code=6)["users_foreign"] == 1
    assert night(restored, today=june(7), code=6)["users_foreign"] == 1
    reason = set_aside(restored)
    assert "of 2026-05-31: expected 110, as rollup.credit_draws has it; found 150." in reason
    assert "`--adopt ada`" in reason
    assert (used(restored), drawn(restored), transactions(restored)) == before


@pytest.mark.thorough
def test_adopting_settles_what_was_paid(restored: str) -> None:
    """Neither an account nor the row changes by it; the rest is settled by what ada buys then, as ever. She has no
    credit now, and is set aside because she has usage that is new."""
    row(restored, 2, "0", JUNE)
    night(restored, today=june(7), code=6)
    tried = night(restored, "--adopt", "ada", "--dry-run", today=june(7))
    rows, account = deducted(restored), used(restored)
    told = night(restored, "--adopt", "ada", today=june(7))
    assert tried["changed"] == told["changed"]
    assert "adopted credits of 40 on 1 row of ada: the ledger now has what they show" in told["notes"]
    assert not any("later credit settled" in note for note in told["notes"])
    assert (deducted(restored), used(restored)) == (rows, account)
    assert (debts(restored), drawn(restored)) == ({1: ("300.00", "140.00", "0.00")}, {1: amounts("0", "150")})
    assert paid(restored, month=MAY) == sums(credits_purchased="150", credits_deducted="150", uncovered="160")
    repeats(restored, today=june(7))
    others(restored, purchased="500")
    night(restored, today=june(8))
    assert (debts(restored), used(restored)) == ({1: ("300.00", "300.00", "0.00")}, amounts("0", "310"))
    assert (deducted(restored)[1], transactions(restored)[-1]) == (Decimal(310), moved("-160 from 500 to 340")[0])
    fresh = usage_jobs("reconcile", url=restored, today=june(8))
    assert fresh.code == 0, fresh.out


@pytest.mark.thorough
def test_adopted_and_settled_in_one_run(restored: str) -> None:
    others(restored, purchased="500")
    night(restored, "--adopt", "ada", today=june(7))
    assert (debts(restored), used(restored)) == ({1: ("300.00", "300.00", "0.00")}, amounts("0", "310"))
    assert paid(restored, month=MAY) == sums(credits_purchased="310", credits_deducted="310")
    assert usage_jobs("reconcile", url=restored, today=june(7)).code == 0
    repeats(restored, today=june(7))
    assert usage_jobs("reopen", "--month", "2026-05", "--reason", "x", url=restored, today=june(7)).code == 0
    assert night(restored, today=june(7))["changed"]["usage_daily"] == 0


@pytest.mark.thorough
def test_where_the_ledger_is_right_the_debt_is_paid_again(restored: str) -> None:
    others(restored, purchased="500")
    told = night(restored, "--trust-ledger", "ada", today=june(7))
    assert told["credits"]["refilled_rows"] == 1
    assert (debts(restored), drawn(restored)) == ({1: ("300.00", "300.00", "0.00")}, {1: amounts("0", "310")})
    assert (used(restored), deducted(restored)) == (amounts("0", "350"), {1: Decimal(310)})
    assert night(restored, today=june(7))["rows_changed"] == 0


@pytest.mark.thorough
def test_a_payment_that_was_lost_is_owed_again(owing: str) -> None:
    """Older tables of the application are restored: account and row do not know of the 40 that were paid."""
    copy(owing, APPLICATION)
    others(owing, purchased="40")
    night(owing, today=june(5))
    restore(owing, APPLICATION)
    others(owing, purchased="500")
    night(owing, today=june(6), code=6)
    assert "expected 50, as rollup.credit_draws has it; found 10" in set_aside(owing)
    night(owing, "--adopt", "ada", today=june(6))
    assert (debts(owing), drawn(owing)) == ({1: ("300.00", "300.00", "0.00")}, {1: amounts("0", "310")})
    assert (used(owing), deducted(owing)[1]) == (amounts("0", "310"), Decimal(310))
    repeats(owing, today=june(6))


@pytest.mark.thorough
def test_more_than_was_owed_needs_a_backfill(owing: str) -> None:
    """The closed month was computed again after the dump."""
    ours = tables_of(owing, "rollup")
    copy(owing, ours)
    reprice(owing, 1, "400")
    others(owing, purchased="1000")
    backfill = ("backfill", "--from", "2026-05-01", "--to", "2026-05-31", "--reason", "restored", "--yes")
    assert usage_jobs(*backfill, url=owing, today=june(5)).code == 0
    restore(owing, ours)
    for adopt in ((), ("--adopt", "ada")):
        night(owing, *adopt, today=june(7), code=6)
        assert "`backfill` the month with `--adopt ada`" in set_aside(owing)
    assert usage_jobs(*backfill, "--adopt", "ada", url=owing, today=june(7)).code == 0
    assert (debts(owing), used(owing), deducted(owing)) == ({}, amounts("0", "400"), {1: Decimal(400)})
    repeats(owing, today=june(7))


@pytest.mark.thorough
def test_what_a_collector_has_reset_is_shown_again(owing: str) -> None:
    others(owing, purchased="100")
    night(owing, today=june(5))
    ask(owing, "UPDATE usage_daily SET credits_deducted = NULL")
    others(owing, purchased="50")
    told = night(owing, today=june(6))
    assert (told["credits"]["refilled_rows"], deducted(owing)) == (1, {1: Decimal(160)})
    assert (debts(owing), used(owing)) == ({1: ("300.00", "150.00", "0.00")}, amounts("0", "160"))
    repeats(owing, today=june(6))


@pytest.mark.thorough
def test_without_the_column_transactions_show_it(owing: str) -> None:
    """Of an open month as of debts: an older dump of rollup would take both again."""
    ask(owing, "ALTER TABLE usage_daily DROP COLUMN credits_deducted")
    row(owing, 2, "5", JUNE)
    others(owing, purchased="10")
    ours = tables_of(owing, "rollup")
    night(owing, today=june(5))
    copy(owing, ours)
    others(owing, purchased="20")
    night(owing, today=june(6))
    restore(owing, ours)
    others(owing, purchased="20")
    before = used(owing)
    for adopt in ((), ("--adopt", "ada")):
        night(owing, *adopt, today=june(7), code=6)
        assert (
            "expected our transactions of the user to come to 20, as rollup.credit_draws does; found 40"
            in set_aside(owing)
        )
    assert used(owing) == before
    night(owing, "--trust-ledger", "ada", today=june(7))
    assert used(owing) == amounts("0", "60")


def test_a_backfill_of_another_closed_month_leaves_the_rows_of_debts_alone(owing: str) -> None:
    """What a collector has reset there is for a run that covers the open months."""
    ask(owing, "UPDATE usage_daily SET credits_deducted = 0")
    row(owing, 2, "1", date(2026, 4, 30))
    backfill = ("backfill", "--from", "2026-04-01", "--to", "2026-04-30", "--reason", "late", "--yes")
    assert usage_jobs(*backfill, url=owing, today=june(5)).code == 0
    assert deducted(owing).get(1, 0) == 0
    others(owing, purchased="1")
    night(owing, today=june(5))
    assert deducted(owing)[1] == Decimal(11)


def test_a_debt_that_another_program_paid_in_whole_can_be_adopted(owing: str) -> None:
    others(owing, purchased="301")
    others(owing, type_="usage", used="300")
    ask(owing, "UPDATE usage_daily SET credits_deducted = 310")
    night(owing, today=june(5), code=6)
    night(owing, "--adopt", "ada", today=june(5))
    assert (debts(owing), drawn(owing)) == ({1: ("300.00", "300.00", "0.00")}, {1: amounts("0", "310")})
    assert used(owing) == amounts("0", "310")
    repeats(owing, today=june(5))

"""What another program has drawn becomes part of the ledger once, so that nobody pays twice (manual: credits)."""

import re
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from commands import CLUSTER, applied, ask, contents, usage_jobs
from prepaid import (
    account,
    amounts,
    booked,
    deducted,
    drawn,
    entry,
    june,
    night,
    others,
    paid,
    prepaid,
    repeats,
    row,
    sums,
    transactions,
    used,
    user,
)

MARCH = june(3).replace(month=3)


@pytest.fixture
def before_us(ready: str) -> str:
    """Another program drew 0.40, 0.30 and 0.20 of ada, the last 0.10 short, and nothing on the 20th."""
    prepaid(ready, granted="0.50", free_used="0.50", purchased="1.00", used="0.40")
    row(ready, 1, "0.40", june(17), credits_deducted="0.40")
    row(ready, 2, "0.30", june(18), credits_deducted="0.30")
    row(ready, 3, "0.30", june(19), credits_deducted="0.20")
    row(ready, 4, "0.30", june(20))
    return ready


def adoptions(url: str) -> list[dict[str, Any]]:
    return ask(url, "SELECT * FROM rollup.runs WHERE kind = 'adopt'")


def test_draws_are_imported_as_revision_0(before_us: str) -> None:
    """Free until free_credits_used is exhausted, then purchased; what was refused before is drawn now."""
    report = night(before_us)
    [adoption] = adoptions(before_us)
    imported = [
        entry(1, 0, june(17), "0.40", "0"),
        entry(2, 0, june(18), "0.10", "0.20"),
        entry(3, 0, june(19), "0", "0.20"),
    ]
    ours = [entry(3, 1, june(19), "0", "0.10"), entry(4, 1, june(20), "0", "0.30")]
    assert booked(before_us) == sorted(imported + ours)
    [first] = ask(before_us, "SELECT DISTINCT run_id FROM rollup.credit_draws WHERE revision = 0")
    assert (first["run_id"], adoption["status"]) == (adoption["run_id"], "done")
    assert adoption["finished_at"] is not None
    assert any("adopted" in note and "0.9" in note for note in report["notes"])
    marked = "SELECT bool_and(imported = (revision = 0)) AS right, bool_or(imported) AS any FROM rollup.credit_draws"
    assert ask(before_us, marked) == [{"right": True, "any": True}]
    ask(before_us, "ALTER TABLE rollup.credit_draws DROP COLUMN imported")
    applied(before_us)
    assert ask(before_us, marked) == [{"right": True, "any": True}], "an older schema has no such column"
    repeats(before_us)
    assert len(adoptions(before_us)) == 1, "once"


def test_nobody_pays_twice(before_us: str) -> None:
    """Only the 0.40 that nobody had drawn is taken, from the account and in transactions."""
    night(before_us)
    assert used(before_us) == amounts("0.50", "0.80")
    assert sorted(amount for amount, *_ in transactions(before_us)) == [Decimal("-0.30"), Decimal("-0.10")]
    assert sum(deducted(before_us).values()) == Decimal("1.30")
    assert paid(before_us) == sums(credits_free="0.50", credits_purchased="0.80", credits_deducted="1.30")


@pytest.mark.thorough
def test_adoption_alone_changes_no_balance(ready: str) -> None:
    prepaid(ready, granted="0.10", free_used="0.10", purchased="1.00", used="0.20")
    row(ready, 1, "0.30", credits_deducted="0.30")
    names = ("public.user_credits", "public.credit_transactions", "public.usage_daily")
    before = contents(ready)
    night(ready)
    assert booked(ready) == [entry(1, 0, june(20), "0.10", "0.20")]
    after = contents(ready)
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
    repeats(ready)


def test_rows_of_a_day_are_imported_in_the_row_order(ready: str) -> None:
    """By cluster with null last, then by id: 0.25 of free credits reach rows 2 and 3, and half of row 1."""
    prepaid(ready, granted="0.25", free_used="0.25", used="0.05", purchased="1")
    row(ready, 1, "0.10", credits_deducted="0.10")
    row(ready, 3, "0.10", credits_deducted="0.10", hopsworks_cluster_id=CLUSTER)
    row(ready, 2, "0.10", credits_deducted="0.10", hopsworks_cluster_id=CLUSTER)
    night(ready)
    assert drawn(ready) == {2: amounts("0.10", "0"), 3: amounts("0.10", "0"), 1: amounts("0.05", "0.05")}
    repeats(ready)


def test_a_row_of_a_month_that_no_run_covers_is_imported_too(ready: str) -> None:
    """It stays as it is, and its credits stay used."""
    prepaid(ready, purchased="0.50", used="0.40")
    row(ready, 1, "5.00", MARCH, credits_deducted="0.40")
    row(ready, 2, "0.30")
    night(ready)
    assert booked(ready) == [entry(1, 0, MARCH, "0", "0.40"), entry(2, 1, june(20), "0", "0.10")]
    assert used(ready) == amounts("0", "0.50")
    repeats(ready)


def test_too_much_drawn_on_an_open_row_is_given_back(ready: str) -> None:
    prepaid(ready, purchased="1.00", used="0.50")
    row(ready, 1, "0.30", credits_deducted="0.50")
    night(ready)
    assert booked(ready) == [entry(1, 0, june(20), "0", "0.50"), entry(1, 1, june(20), "0", "-0.20")]
    assert (used(ready), deducted(ready)) == (amounts("0", "0.30"), {1: Decimal("0.30")})
    repeats(ready)


@pytest.mark.parametrize("mode", ["postpaid", None])
def test_a_row_with_imported_draws_is_prepaid_whatever_its_user_is(ready: str, mode: str | None) -> None:
    """Who has paid by credits is not sent an invoice for the same row; other rows are due as ever."""
    user(ready, mode=mode)
    account(ready, purchased="1.00", used="0.20")
    row(ready, 1, "0.30", june(19), credits_deducted="0.20")
    row(ready, 2, "0.30", june(20))
    night(ready)
    assert booked(ready) == [entry(1, 0, june(19), "0", "0.20"), entry(1, 1, june(19), "0", "0.10")]
    assert paid(ready) == sums(credits_purchased="0.30", credits_deducted="0.30", amount_due="0.30")
    repeats(ready)


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["postpaid", None])
def test_a_row_whose_imported_draws_were_given_back_is_prepaid_in_a_later_month(ready: str, mode: str | None) -> None:
    """It cost nothing for a while, in a month that is closed by now."""
    user(ready, mode=mode)
    account(ready, purchased="1.00", used="0.20")
    row(ready, 1, "0.20", june(19), credits_deducted="0.20")
    night(ready)
    ask(ready, "UPDATE usage_daily SET total_cost = 0, cpu_hours = 0")
    night(ready)
    assert (drawn(ready), used(ready)) == ({}, amounts("0", "0"))
    night(ready, "--date", "2026-07-10", today=date(2026, 7, 11))
    ask(ready, "UPDATE usage_daily SET total_cost = 0.30, date = '2026-07-05'")
    night(ready, "--date", "2026-07-11", today=date(2026, 7, 12))
    assert (drawn(ready), used(ready)) == ({1: amounts("0", "0.30")}, amounts("0", "0.30"))


def test_more_deducted_than_used_is_reported(ready: str) -> None:
    """0.30 deducted, of which the account knows 0.10."""
    prepaid(ready, purchased="1.00", used="0.10")
    row(ready, 1, "0.30", credits_deducted="0.30")
    report = night(ready)
    assert booked(ready) == [entry(1, 0, june(20), "0", "0.30")]
    assert any("0.2" in note and "user_credits" in note for note in report["notes"]), report["notes"]
    assert (used(ready), transactions(ready)) == (amounts("0", "0.10"), [])


def test_a_user_without_an_account_keeps_what_was_drawn(ready: str) -> None:
    user(ready)
    row(ready, 1, "0.30", credits_deducted="0.20")
    night(ready)
    assert booked(ready) == [entry(1, 0, june(20), "0", "0.20")]
    assert paid(ready) == sums(credits_purchased="0.20", credits_deducted="0.20", uncovered="0.10")


def test_nothing_to_adopt_is_no_adoption_and_there_is_none_later(ready: str) -> None:
    """Once we keep the ledger, what somebody else writes to credits_deducted is adopted for nobody by itself."""
    prepaid(ready)
    row(ready, 1, "0.30")
    night(ready)
    ask(ready, "UPDATE usage_daily SET credits_deducted = 0.30")
    night(ready, code=6)
    assert (adoptions(ready), booked(ready), deducted(ready)) == ([], [], {1: Decimal("0.30")})


def test_credits_deducted_that_somebody_changed_is_put_right_when_asked_for(before_us: str) -> None:
    night(before_us)
    held = deducted(before_us)
    accounts = used(before_us)
    ask(before_us, "UPDATE usage_daily SET credits_deducted = 9 WHERE id = %s", UUID(int=4))
    assert usage_jobs("reconcile", url=before_us).code == 6, "a broken law until then"
    assert night(before_us, code=6)["rows_changed"] == 0
    report = night(before_us, "--trust-ledger", "ada")
    assert report["changed"]["usage_daily"] == report["rows_changed"] == 1
    assert any("credits_deducted" in note for note in report["notes"])
    assert (deducted(before_us), used(before_us)) == (held, accounts)
    repeats(before_us)


def test_what_is_given_back_of_draws_that_are_adopted_late_needs_a_token(ready: str) -> None:
    """Nobody kept accounts when the days were covered. Adopted draws are no change; what they are too much is."""
    prepaid(ready, purchased="1000", used="400")
    ask(ready, "ALTER TABLE user_credits RENAME TO later")
    row(ready, 1, "1", june(18))
    night(ready)
    ask(ready, "ALTER TABLE later RENAME TO user_credits")
    ask(ready, "UPDATE usage_daily SET credits_deducted = 400")
    limit: Any = {"USAGE_JOBS_MAX_CHANGE_AMOUNT": "300"}
    refused = usage_jobs("run", url=ready, **limit)
    assert refused.code == 5
    assert "the draws (free and purchased) of covered days would change (399.00 less;" in " ".join(refused.err.split())
    assert adoptions(ready) == []
    [token] = re.findall(r"--allow-change (\S+)", refused.err)
    night(ready, "--allow-change", token, **limit)
    assert (drawn(ready), used(ready)) == ({1: amounts("0", "1")}, amounts("0", "1"))


def test_a_dry_run_adopts_nothing(before_us: str) -> None:
    before = contents(before_us)
    dry = night(before_us, "--dry-run")
    assert contents(before_us) == before
    real = night(before_us)
    same = ("changed", "credits", "notes", "total_cost")
    assert {name: dry[name] for name in same} == {name: real[name] for name in same}
    assert len(adoptions(before_us)) == 1


@pytest.mark.thorough
def test_an_imported_draw_of_a_later_day_is_given_back_when_its_row_is_gone(ready: str) -> None:
    """It was imported before its day was covered: no usage, and no month of a roll-up, tells of it."""
    user(ready, "bob", "postpaid")
    account(ready, "bob", purchased="9", used="5")
    row(ready, 1, "1", june(3), user_id="bob")
    row(ready, 2, "5", june(15), user_id="bob", credits_deducted="5")
    night(ready, "--date", "2026-06-10")
    assert (drawn(ready, "bob"), used(ready, "bob")) == ({2: amounts("0", "5")}, amounts("0", "5"))
    ask(ready, "DELETE FROM usage_daily WHERE id = %s", UUID(int=2))
    assert night(ready, "--date", "2026-06-12")["users_recomputed"] == 0
    assert night(ready, "--date", "2026-06-16")["users_recomputed"] == 1
    assert (drawn(ready, "bob"), used(ready, "bob")) == ({}, amounts("0", "0"))
    assert night(ready, "--date", "2026-06-16")["users_recomputed"] == 0
    assert usage_jobs("reconcile", url=ready).code == 0


def test_what_was_given_back_of_an_imported_draw_is_not_taken_again(ready: str) -> None:
    """credits.start leaves earlier days as they are: as the ledger has them now, not as they were imported."""
    prepaid(ready, purchased="10", used="5")
    user(ready, "bob", "postpaid")
    row(ready, 1, "3", june(5), credits_deducted="5")
    night(ready, "--date", "2026-06-10")
    assert drawn(ready) == {1: amounts("0", "3")}
    others(ready, type_="usage", used="6")
    row(ready, 2, "1", june(12), user_id="bob")
    night(ready, "--date", "2026-06-12", USAGE_JOBS_CREDITS__START="2026-06-10")
    assert (drawn(ready), used(ready)) == ({1: amounts("0", "3")}, amounts("0", "9"))

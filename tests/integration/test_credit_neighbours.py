"""Other programs beside the job: what they draw, date ahead, break or erase, and what run and reconcile say of it."""

from collections.abc import Callable, Collection
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from commands import DAY, TODAY, ask, usage_jobs
from prepaid import account, amounts, booked, deducted, drawn, june, night, others, prepaid, repeats, row, used, user

from jobs.credits import allocation
from jobs.credits.allocation import Allocated, CreditInput
from jobs.domain.check_tokens import Shrink
from jobs.postgres import accounts
from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.settings import Settings

BOOK = "INSERT INTO rollup.credit_draws (usage_daily_id, user_id, revision, usage_date, free, purchased, run_id) "


def reconciled(url: str, *days: str) -> dict[str, list[str]]:
    """The laws that are broken, with their culprits."""
    found = usage_jobs("reconcile", "--json", *days, url=url).object["laws"]
    return {law["law"]: law["culprits"] for law in found if law["verdict"] == "broken"}


def test_a_row_that_went_to_another_user_is_nobody_elses_doing(ready: str) -> None:
    prepaid(ready, purchased="9")
    user(ready, "bob", "postpaid")
    row(ready, 1, "0.30")
    night(ready)
    ask(ready, "UPDATE usage_daily SET user_id = 'bob'")
    told = night(ready)
    assert (told["notes"], told["credits"]["refilled_rows"]) == ([], 0)
    assert deducted(ready) == {}


def test_what_was_drawn_ahead_of_the_last_day_stays_until_it_is_covered(ready: str) -> None:
    prepaid(ready, purchased="9", used="0.80")
    row(ready, 1, "0.30", june(10), credits_deducted="0.30")
    row(ready, 2, "0.60", DAY, credits_deducted="0.50")
    night(ready, "--date", "2026-06-10")
    assert (used(ready), deducted(ready)) == (amounts("0", "0.80"), {1: Decimal("0.30"), 2: Decimal("0.50")})
    assert reconciled(ready) == {}
    night(ready)
    assert drawn(ready) == {1: amounts("0", "0.30"), 2: amounts("0", "0.60")}
    assert used(ready) == amounts("0", "0.90")
    repeats(ready)


def test_a_closed_month_is_sound_although_accounts_and_invoices_moved_on(ready: str) -> None:
    ask(ready, "ALTER TABLE usage_daily ADD reported_to_stripe boolean DEFAULT false")
    prepaid(ready, purchased="0.50")
    user(ready, "bob", "postpaid")
    row(ready, 1, "0.30", date(2026, 5, 20))
    row(ready, 2, "0.30", date(2026, 5, 20), user_id="bob")
    row(ready, 3, "0.30")
    night(ready)
    others(ready, purchased="5")
    ask(ready, "UPDATE usage_daily SET reported_to_stripe = true WHERE user_id = 'bob'")
    row(ready, 4, "0.70")
    night(ready)
    assert reconciled(ready, "--from", "2026-05-01", "--to", "2026-05-31") == {}
    assert reconciled(ready) == {}


def test_an_erased_customer_breaks_no_invariant(ready: str) -> None:
    """Their usage, account and history are gone; what was booked of them stays, and is counted."""
    prepaid(ready, purchased="5")
    prepaid(ready, "bob", purchased="5")
    for number, name in enumerate(("ada", "bob"), start=1):
        row(ready, number, "0.30", user_id=name)
    night(ready)
    for table, column in (("usage_daily", "user_id"), ("user_credits", "user_id"), ("users", "id")):
        ask(ready, f"DELETE FROM {table} WHERE {column} = 'ada'")
    ask(ready, "DELETE FROM credit_transactions WHERE user_id = 'ada'")
    night(ready)
    assert reconciled(ready) == {}
    assert "users without an account" in usage_jobs("reconcile", url=ready).out
    assert booked(ready) != []


@pytest.mark.parametrize("column", ["total_purchased", "total_used", "free_credits_granted"])
@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_an_account_that_is_no_number_holds_up_nobody_else(ready: str, column: str, value: str) -> None:
    prepaid(ready, purchased="5")
    prepaid(ready, "bob", purchased="5")
    row(ready, 1, "0.30")
    row(ready, 2, "0.30", user_id="bob")
    ask(ready, f"UPDATE user_credits SET {column} = %s WHERE user_id = 'bob'", value)
    told = night(ready)
    assert any("user_credits of bob: some amounts are no numbers" in note for note in told["notes"])
    assert (drawn(ready), drawn(ready, "bob")) == ({1: amounts("0", "0.30")}, {})


def test_two_accounts_of_one_user_are_refused_by_name(ready: str) -> None:
    ask(ready, "ALTER TABLE user_credits DROP CONSTRAINT user_credits_user_id_key")
    prepaid(ready, purchased="5")
    account(ready, purchased="5")
    row(ready, 1, "0.30")
    ran = usage_jobs("run", url=ready)
    assert ran.code == 5
    assert "user_credits.user_id: expected each value once; found twice or more: ada" in ran.err
    assert booked(ready) == []


def test_transactions_that_a_trigger_swallows_take_everything_back(ready: str) -> None:
    prepaid(ready, purchased="5")
    row(ready, 1, "0.30")
    ask(ready, "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    ask(ready, "CREATE TRIGGER t BEFORE INSERT ON credit_transactions FOR EACH ROW EXECUTE FUNCTION nothing()")
    ran = usage_jobs("run", "--json", url=ready)
    assert ran.code == 3
    assert any("credit_transactions: expected to write 1 rows; wrote 0" in note for note in ran.object["notes"])
    assert (booked(ready), used(ready), deducted(ready)) == ([], amounts("0", "0"), {})


@pytest.mark.parametrize("status", ["running", "failed"])
def test_a_run_that_died_or_failed_before_it_wrote_breaks_no_invariant(ready: str, status: str) -> None:
    prepaid(ready, purchased="5")
    row(ready, 1, "0.30")
    night(ready)
    ask(
        ready,
        "INSERT INTO rollup.runs (kind, window_from, window_to, status, version) VALUES ('run', %s, %s, %s, 'x')",
        TODAY.replace(day=1),
        DAY,
        status,
    )
    assert reconciled(ready) == {}
    assert "wrote nothing" in usage_jobs("reconcile", url=ready).out


def test_a_purchase_dated_before_our_first_draw_that_came_after_it_is_explained(ready: str) -> None:
    """created_at is when its transaction began, which may have waited for our lock."""
    prepaid(ready, purchased="5")
    row(ready, 1, "0.30")
    night(ready)
    others(ready, purchased="2")
    ask(ready, "UPDATE credit_transactions SET created_at = created_at - interval '30 minutes' WHERE type = 'purchase'")
    assert reconciled(ready) == {}


def before_locking(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Something happens, once, after a batch has read and before it locks accounts."""
    lock, happened = accounts.lock_accounts, list[object]()

    def late(
        connection: Connection, settings: Settings, held: CreditCapabilities, users: Collection[str], *, wait: bool
    ) -> tuple[frozenset[str], frozenset[str]]:
        if not happened:
            happened.append(meanwhile())
        return lock(connection, settings, held, users, wait=wait)

    monkeypatch.setattr(accounts, "lock_accounts", late)


def test_a_refund_between_reading_and_locking_leaves_less_to_draw(ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before the lock only tells who needs posting."""
    prepaid(ready, purchased="5")
    row(ready, 1, "3.00")
    before_locking(monkeypatch, lambda: others(ready, type_="refund", purchased="-4"))
    night(ready)
    assert drawn(ready) == {1: amounts("0", "1.00")}
    assert used(ready) == amounts("0", "1.00")


def test_a_draw_posted_between_reading_and_locking_is_not_posted_again(
    ready: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who has our key, and who leaves the account as it is."""
    prepaid(ready, purchased="5")
    row(ready, 1, "0.30")
    night(ready)
    ask(ready, "UPDATE usage_daily SET total_cost = 0.80")
    more = "SELECT usage_daily_id, user_id, 2, usage_date, 0, 0.20, run_id FROM rollup.credit_draws"
    before_locking(monkeypatch, lambda: ask(ready, BOOK + more))
    night(ready, code=6)
    assert (drawn(ready), used(ready)) == ({1: amounts("0", "0.50")}, amounts("0", "0.30"))


def test_a_draw_posted_beside_the_first_run_of_all_is_not_posted_again(
    ready: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the ledger was empty when it was read: nothing of the user is drawn, and the next run says why."""
    prepaid(ready, purchased="5")
    row(ready, 1, "0.80")
    row(ready, 2, "0.30")
    first = "SELECT id, user_id, 1, date, 0, 0.20, 1 FROM usage_daily ORDER BY id LIMIT 1"
    before_locking(monkeypatch, lambda: ask(ready, BOOK + first))
    night(ready, code=6)
    assert (drawn(ready), deducted(ready), used(ready)) == ({1: amounts("0", "0.20")}, {}, amounts("0", "0"))


def test_what_nobody_has_moved_before_the_lock_is_computed_once(ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prepaid(ready, purchased="5")
    row(ready, 1, "3.00")
    computed, allocate = list[int](), allocation.allocate_windows

    def counted(inputs: CreditInput, *more: Any) -> Allocated:
        computed.append(inputs.rows.height)
        return allocate(inputs, *more)

    monkeypatch.setattr(allocation, "allocate_windows", counted)
    night(ready)
    assert (computed, drawn(ready)) == ([1], {1: amounts("0", "3.00")})


def test_adopted_draws_of_a_user_whose_rows_are_gone_before_his_batch_are_given_back(ready: str) -> None:
    """Adoption is committed by itself: whoever it imported draws of has no month stored until his batch."""
    prepaid(ready, purchased="5", used="0.30")
    row(ready, 1, "0.30", credits_deducted="0.30")
    ask(
        ready,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;"
        "CREATE TRIGGER t BEFORE INSERT ON rollup.user_monthly FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    night(ready, code=5)
    assert drawn(ready) == {1: amounts("0", "0.30")}
    ask(ready, "DROP FUNCTION refuse CASCADE")
    ask(ready, "DELETE FROM usage_daily")
    night(ready)
    assert (drawn(ready), used(ready)) == ({}, amounts("0", "0"))
    repeats(ready)


def test_what_an_account_that_was_no_number_is_owed_is_given_back_once_it_is_corrected(ready: str) -> None:
    """As the note says of it, although by then the user has neither usage nor a stored month."""
    prepaid(ready, purchased="5")
    row(ready, 1, "0.30")
    night(ready)
    ask(ready, "UPDATE user_credits SET total_purchased = 'NaN'")
    ask(ready, "DELETE FROM usage_daily")
    night(ready, "--allow-shrink", Shrink(date(2026, 6, 1), 0, 0).token)
    ask(ready, "UPDATE user_credits SET total_purchased = 5")
    night(ready)
    assert (drawn(ready), used(ready)) == ({}, amounts("0", "0"))
    repeats(ready)

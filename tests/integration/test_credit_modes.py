"""Who is drawn: how a user pays, since when, and what those who are not drawn owe (manual: credits)."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal

import pytest
from commands import ask, insert, usage_jobs
from prepaid import account, amounts, drawn, june, night, paid, prepaid, repeats, row, sums, used, user

EVER = date(1, 1, 1)


def modes(url: str, name: str = "ada") -> list[tuple[date, str | None]]:
    text = "SELECT valid_from, mode FROM rollup.billing_modes WHERE user_id = %s ORDER BY 1"
    return [(held["valid_from"], held["mode"]) for held in ask(url, text, name)]


def pays(url: str, mode: str | None, name: str = "ada") -> None:
    ask(url, "UPDATE users SET billing_mode = %s WHERE id = %s", mode, name)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("prepaid", {"credits_purchased": "0.30", "credits_deducted": "0.30"}),
        ("postpaid", {"amount_due": "0.30"}),
        ("free", {}),
        (None, {"amount_due": "0.30"}),
        ("barter", {"amount_due": "0.30"}),
        ("Prepaid", {"amount_due": "0.30"}),
    ],
)
def test_each_mode(ready: str, mode: str | None, expected: dict[str, str]) -> None:
    """Only `prepaid` is drawn, and only `free` is let off: what is not known is due, credit or not."""
    ask(ready, "ALTER TABLE users DROP CONSTRAINT users_billing_mode_check")
    user(ready, mode=mode)
    account(ready, purchased="1")
    row(ready, 1, "0.30")
    notes = night(ready)["notes"]
    named = f"users.billing_mode {mode!r} of 1 users (such as ada): expected prepaid, postpaid, free or null"
    assert any(named in note for note in notes) is (mode in {"barter", "Prepaid"})
    assert paid(ready) == sums(**expected)
    assert modes(ready) == [(EVER, mode)], "a null is recorded too"
    assert used(ready) == amounts("0", expected.get("credits_deducted", "0"))
    repeats(ready)


def test_a_user_who_is_not_in_users_is_due(ready: str) -> None:
    account(ready, purchased="1")
    row(ready, 1, "0.30")
    ask(ready, "DELETE FROM users")
    night(ready)
    assert (paid(ready), modes(ready)) == (sums(amount_due="0.30"), [])


@pytest.mark.parametrize(
    ("scale", "mode", "name", "amount"),
    [
        ("2", "postpaid", "amount_due", "0.01"),
        ("3", "postpaid", "amount_due", "0.012"),
        ("0", "postpaid", "amount_due", None),
        ("3", "prepaid", "credits_deducted", "0.012"),
    ],
)
def test_amounts_are_at_currency_scale(ready: str, scale: str, mode: str, name: str, amount: str | None) -> None:
    """Three days of 0.004; without a declared scale in the database, the ledger's is the same."""
    user(ready, mode=mode)
    account(ready, purchased="1")
    for number in (1, 2, 3):
        row(ready, number, "0.004", june(number))
    night(ready, USAGE_JOBS_CURRENCY_SCALE=scale)
    assert paid(ready).get(name) == (None if amount is None else Decimal(amount))
    repeats(ready, USAGE_JOBS_CURRENCY_SCALE=scale)


@pytest.mark.parametrize(
    ("cost", "amount"), [("0.005", "0"), ("0.015", "0.02"), ("0.025", "0.02"), ("0.0250001", "0.03")]
)
def test_amounts_due_are_rounded_half_to_even(ready: str, cost: str, amount: str) -> None:
    user(ready, mode="postpaid")
    row(ready, 1, cost)
    night(ready)
    assert paid(ready).get("amount_due", 0) == Decimal(amount)


# A mode that changes


def prepare_switching(url: str) -> None:
    prepaid(url, purchased="5")
    for number in (18, 19, 20):
        row(url, number, "0.30", june(number))
    night(url, "--date", "2026-06-18")


@pytest.fixture
def switching(make_prepared: Callable[[Callable[[str], object]], str]) -> str:
    """A prepaid user with a row of 0.30 on each of three days, run up to the 18th."""
    return make_prepared(prepare_switching)


@pytest.mark.thorough
def test_a_switch_changes_the_rows_after_the_furthest_recorded_day(switching: str) -> None:
    pays(switching, "postpaid")
    night(switching, "--date", "2026-06-19")
    assert modes(switching) == [(EVER, "prepaid"), (june(19), "postpaid")]
    assert drawn(switching) == {18: amounts("0", "0.30")}
    late = {"id": "00000000-0000-0000-0000-000000000001", "user_id": "ada", "cpu_hours": 1}
    insert(switching, "usage_daily", **late, date=june(2))
    pays(switching, "prepaid")
    night(switching)
    assert modes(switching) == [(EVER, "prepaid"), (june(19), "postpaid"), (june(20), "prepaid")]
    assert drawn(switching) == {
        number: amounts("0", cost) for number, cost in ((1, "0.10"), (18, "0.30"), (20, "0.30"))
    }
    expected = sums(credits_purchased="0.70", credits_deducted="0.70", amount_due="0.30")
    assert paid(switching) == expected, "a late row is paid as on its day"
    repeats(switching)


def test_a_repeated_run_for_the_same_day_records_nothing(switching: str) -> None:
    """users.billing_mode says how a user pays now, and now is after the days that are covered."""
    pays(switching, "postpaid")
    report = night(switching, "--date", "2026-06-18")
    assert (report["rows_changed"], modes(switching)) == (0, [(EVER, "prepaid")])
    night(switching, "--date", "2026-06-17")
    assert modes(switching) == [(EVER, "prepaid")]


def test_a_dry_run_records_nothing(switching: str) -> None:
    pays(switching, "postpaid")
    dry = night(switching, "--dry-run")
    assert modes(switching) == [(EVER, "prepaid")]
    assert dry["changed"] == night(switching)["changed"]
    assert modes(switching) == [(EVER, "prepaid"), (june(20), "postpaid")]


def test_first_sight_covers_all_days(switching: str) -> None:
    """A user who appears later pays as now for the days before, too."""
    prepaid(switching, "bob", purchased="5")
    row(switching, 1, "0.20", june(3), user_id="bob")
    night(switching)
    assert (modes(switching, "bob"), drawn(switching, "bob")) == ([(EVER, "prepaid")], {1: amounts("0", "0.20")})


def test_a_run_that_wrote_nothing_has_recorded_nothing(switching: str) -> None:
    pays(switching, "postpaid")
    ask(switching, "CREATE TABLE aside AS SELECT * FROM usage_daily")
    ask(switching, "DELETE FROM usage_daily")
    assert usage_jobs("run", "--date", "2026-06-19", url=switching).code == 5
    ask(switching, "INSERT INTO usage_daily SELECT * FROM aside")
    ask(switching, "DROP TABLE aside")
    pays(switching, "prepaid")
    night(switching)
    assert modes(switching) == [(EVER, "prepaid")]
    assert paid(switching) == sums(credits_purchased="0.90", credits_deducted="0.90")


def test_days_missed_by_an_outage_keep_their_billing_mode(switching: str) -> None:
    """Nobody knows on which of them the user has switched: the last one is the first that is known."""
    pays(switching, "postpaid")
    night(switching)
    assert modes(switching) == [(EVER, "prepaid"), (june(20), "postpaid")]
    assert drawn(switching) == {18: amounts("0", "0.30"), 19: amounts("0", "0.30")}
    assert paid(switching) == sums(credits_purchased="0.60", credits_deducted="0.60", amount_due="0.30")
    repeats(switching)


def test_prepaid_and_due_rows_of_a_month_are_rounded_apart(ready: str) -> None:
    """Three prepaid days of 0.004 make 0.01, and two due days of 0.004 another 0.01: together they cost 0.02."""
    prepaid(ready, purchased="1")
    for number in range(1, 6):
        row(ready, number, "0.004", june(number))
    night(ready, "--date", "2026-06-03")
    pays(ready, "postpaid")
    night(ready, "--date", "2026-06-04")
    night(ready)
    assert paid(ready) == sums(credits_purchased="0.01", credits_deducted="0.01", amount_due="0.01")
    repeats(ready)

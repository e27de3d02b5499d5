"""Credits in every shape of the database: what is missing is done without, what is there is kept right."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from commands import add_row, ask, contents, usage_jobs, written
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
    reprice,
    row,
    sums,
    transactions,
    used,
    user,
)

OPTIONS = ("--config", str(Path(__file__).parents[2] / "config" / "examples" / "shape-c" / "settings.toml"))
THREE = {1: amounts("0.30", "0"), 2: amounts("0.20", "0.20"), 3: amounts("0", "0.20")}
"""Of 0.50 free and 0.40 purchased, by rows that cost 0.30, 0.40 and 0.40."""
SPLIT = sums(credits_free="0.50", credits_purchased="0.40", credits_deducted="0.90", uncovered="0.20")


def three(url: str) -> None:
    for number, cost in ((1, "0.30"), (2, "0.40"), (3, "0.40")):
        row(url, number, cost, june(17 + number))


@pytest.fixture
def b(make_database: Callable[..., str]) -> str:
    return make_database("b", ready=True)


def held(url: str, columns: str) -> dict[str, Any]:
    [found] = ask(url, f"SELECT {columns} FROM user_credits")
    return found


# Shape B


def test_shape_b(b: str) -> None:
    """The generated balance and the trigger's updated_at follow our increments, and rest when nothing is booked."""
    prepaid(b, granted="0.50", purchased="0.40")
    three(b)
    night(b)
    assert (drawn(b), paid(b), used(b)) == (THREE, SPLIT, amounts("0.50", "0.40"))
    assert transactions(b)[-1] == tuple(map(Decimal, ("-0.20", "0.20", "0")))
    assert held(b, "balance")["balance"] == 0
    before, counts = contents(b, but=["rollup.runs"]), written(b)
    repeats(b)
    assert contents(b, but=["rollup.runs"]) == before
    after = written(b)
    assert {name for name in after if after[name] != counts[name]} == {"rollup.runs"}


def test_small_days_in_shape_b(b: str) -> None:
    prepaid(b, purchased="1.00")
    for number in range(1, 31):
        row(b, number, "0.004", june(number))
    night(b, "--date", "2026-06-15", today=june(16))
    night(b, today=june(30).replace(month=7, day=1))
    assert sum(deducted(b).values()) == Decimal("0.12")
    assert used(b) == amounts("0", "0.12")


def test_a_correction_in_shape_b_is_of_type_usage(b: str) -> None:
    """Its check knows no `adjustment`."""
    prepaid(b, purchased="1.00")
    row(b, 1, "0.30")
    night(b)
    reprice(b, 1, "0.10")
    night(b)
    assert transactions(b) == moved("-0.30 from 1.00 to 0.70", "0.20 from 0.70 to 0.90")
    repeats(b)


def one_kind(url: str) -> None:
    ask(url, "ALTER TABLE user_credits DROP COLUMN free_credits_used")


def test_total_used_counts_both_kinds_without_free_credits_used(b: str) -> None:
    """The kinds are told apart all the same, in ledger and roll-up."""
    one_kind(b)
    prepaid(b, granted="0.50", purchased="0.40")
    three(b)
    night(b)
    assert (drawn(b), paid(b)) == (THREE, SPLIT)
    assert held(b, "total_used")["total_used"] == Decimal("0.90")
    assert transactions(b) == moved("-0.30 from 0.90 to 0.60", "-0.40 from 0.60 to 0.20", "-0.20 from 0.20 to 0")
    repeats(b)
    ask(b, "UPDATE user_credits SET total_purchased = 0.50")
    night(b)
    assert drawn(b) == THREE | {3: amounts("0", "0.30")}
    assert held(b, "total_used")["total_used"] == Decimal("1.00")


def test_what_was_used_before_is_free_first_without_free_credits_used(b: str) -> None:
    """0.60 used: of 0.50 granted all, and 0.10 of 0.40 purchased, so 0.30 are left."""
    one_kind(b)
    prepaid(b, granted="0.50", purchased="0.40", used="0.60")
    row(b, 1, "0.90")
    night(b)
    assert (drawn(b), held(b, "total_used")["total_used"]) == ({1: amounts("0", "0.30")}, Decimal("0.90"))
    repeats(b)


def test_adoption_without_free_credits_used(b: str) -> None:
    """Free up to the smaller of granted and total_used."""
    one_kind(b)
    prepaid(b, granted="0.20", purchased="1.00", used="0.30")
    row(b, 1, "0.30", credits_deducted="0.30")
    night(b)
    assert booked(b) == [entry(1, 0, june(20), "0.20", "0.10")]
    assert (held(b, "total_used")["total_used"], transactions(b)) == (Decimal("0.30"), [])
    repeats(b)


# Shape C, and what else may be missing


def test_shape_c_keeps_the_ledger_alone(make_database: Callable[..., str]) -> None:
    """No credit_transactions and no credits_deducted: not a row of usage_daily is touched."""
    url = make_database("c")
    assert usage_jobs("schema", "--apply", *OPTIONS, url=url).code == 0
    prepaid(url, granted="0.50", purchased="0.40")
    for number, cost in ((1, "0.30"), (2, "0.40"), (3, "0.40")):
        add_row(url, id=UUID(int=number), date=june(17 + number), total_cost=cost)
    counts = written(url)["public.usage_daily"]
    report = night(url, *OPTIONS)
    assert (drawn(url), paid(url), used(url)) == (THREE, SPLIT, amounts("0.50", "0.40"))
    assert written(url)["public.usage_daily"] == counts
    assert report["changed"]["credit_transactions"] == 0
    assert held(url, "balance")["balance"] == 0
    repeats(url, *OPTIONS)


def test_without_user_credits_prepaid_usage_is_uncovered(ready: str) -> None:
    ask(ready, "DROP TABLE user_credits")
    user(ready)
    row(ready, 1, "0.30")
    night(ready)
    assert (drawn(ready), deducted(ready), paid(ready)) == ({}, {}, sums(uncovered="0.30"))
    repeats(ready)


def test_without_billing_mode_everyone_is_due(ready: str) -> None:
    ask(ready, "ALTER TABLE users DROP COLUMN billing_mode")
    account(ready, purchased="1.00")
    row(ready, 1, "0.30")
    night(ready)
    assert (drawn(ready), paid(ready), used(ready)) == ({}, sums(amount_due="0.30"), amounts("0", "0"))
    repeats(ready)


def test_without_transactions_and_deductions_in_shape_a(ready: str) -> None:
    ask(ready, "DROP TABLE credit_transactions")
    ask(ready, "ALTER TABLE usage_daily DROP COLUMN credits_deducted")
    prepaid(ready, granted="0.50", purchased="0.40")
    three(ready)
    night(ready)
    assert (drawn(ready), paid(ready), used(ready)) == (THREE, SPLIT, amounts("0.50", "0.40"))
    repeats(ready)


def test_accounts_that_vanish_after_draws_stop_the_run(ready: str) -> None:
    """Without them these draws could be neither kept nor corrected."""
    prepaid(ready, purchased="1.00")
    row(ready, 1, "0.30")
    night(ready)
    ask(ready, "ALTER TABLE user_credits RENAME TO aside")
    before = contents(ready, but=["rollup.runs"])
    ran = usage_jobs("run", url=ready)
    assert ran.code == 5
    assert "user_credits" in ran.err
    assert contents(ready, but=["rollup.runs"]) == before
    ask(ready, "ALTER TABLE aside RENAME TO user_credits")
    repeats(ready)

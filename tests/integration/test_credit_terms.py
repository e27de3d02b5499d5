"""What limits draws: the ledger's scale, and rows that were reported to Stripe (manual: credits)."""

from collections.abc import Callable
from uuid import UUID

import pytest
from commands import ask
from prepaid import (
    amounts,
    drawn,
    june,
    night,
    others,
    paid,
    prepaid,
    repeats,
    reprice,
    row,
    sums,
    used,
    user,
)

SCALED = (
    ("credit_transactions", "amount"),
    ("credit_transactions", "balance_before"),
    ("credit_transactions", "balance_after"),
    ("usage_daily", "credits_deducted"),
    ("user_credits", "total_used"),
    ("user_credits", "free_credits_used"),
    ("user_credits", "total_purchased"),
)


def declare(url: str, table: str, column: str, type_: str) -> None:
    ask(url, f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {type_}")


# The ledger's scale


@pytest.mark.parametrize(("table", "column"), SCALED)
def test_the_smallest_declared_scale_is_the_ledgers(ready: str, table: str, column: str) -> None:
    """Half to even at one place: 0.25 is 0.2, and with another 0.20 it is 0.45, so 0.4."""
    for other in SCALED:
        declare(ready, *other, "numeric(12,4)")
    declare(ready, table, column, "numeric(12,1)")
    prepaid(ready, purchased="5")
    row(ready, 1, "0.25", june(19))
    row(ready, 2, "0.20", june(20))
    night(ready)
    assert drawn(ready) == {1: amounts("0", "0.2"), 2: amounts("0", "0.2")}
    repeats(ready)


@pytest.mark.parametrize(
    ("type_", "amount"),
    [("numeric(12,4)", "0.0123"), ("numeric(12,3)", "0.012"), ("integer", "0"), ("numeric", "0.01")],
)
def test_a_single_declared_scale_holds(ready: str, type_: str, amount: str) -> None:
    """Where none is declared, the currency's two decimals."""
    declare(ready, "user_credits", "total_used", type_)
    prepaid(ready, purchased="5")
    row(ready, 1, "0.01234")
    night(ready)
    assert used(ready) == amounts("0", amount)
    repeats(ready)


def test_the_scale_of_what_was_granted_does_not_count(ready: str) -> None:
    declare(ready, "user_credits", "free_credits_granted", "numeric(12,0)")
    prepaid(ready, granted="1")
    row(ready, 1, "0.25")
    night(ready)
    assert drawn(ready) == {1: amounts("0.25", "0")}
    repeats(ready)


# Rows that were reported to Stripe


@pytest.fixture
def b(make_database: Callable[..., str]) -> str:
    return make_database("b", ready=True)


def report(url: str, number: int) -> None:
    ask(url, "UPDATE usage_daily SET reported_to_stripe = true WHERE id = %s", UUID(int=number))


@pytest.mark.thorough
def test_a_reported_row_keeps_its_draws_as_posted(b: str) -> None:
    """Its invoice is out: what it costs more now is reported, not uncovered, and what it drew stays used."""
    prepaid(b, purchased="0.50")
    row(b, 1, "0.30", june(19))
    row(b, 2, "0.30", june(20))
    night(b)
    report(b, 1)
    reprice(b, 1, "0.40")
    night(b)
    assert drawn(b) == {1: amounts("0", "0.30"), 2: amounts("0", "0.20")}
    expected = {"credits_purchased": "0.50", "credits_deducted": "0.50", "uncovered": "0.10", "amount_reported": "0.10"}
    assert paid(b) == sums(**expected)
    reprice(b, 1, "0.10")
    others(b, purchased="4.50")
    night(b)
    assert drawn(b) == {1: amounts("0", "0.30"), 2: amounts("0", "0.30")}, "nothing comes back of a reported row"
    assert paid(b) == sums(credits_purchased="0.60", credits_deducted="0.60")
    repeats(b)


def test_nothing_more_is_drawn_on_a_reported_row(b: str) -> None:
    """The older row is uncovered, but reported: a top-up goes to the other."""
    prepaid(b, purchased="0.10")
    row(b, 1, "0.30", june(19))
    row(b, 2, "0.30", june(20))
    night(b)
    report(b, 1)
    others(b, purchased="0.20")
    night(b)
    assert drawn(b) == {1: amounts("0", "0.10"), 2: amounts("0", "0.20")}
    expected = {"credits_purchased": "0.30", "credits_deducted": "0.30", "uncovered": "0.10", "amount_reported": "0.20"}
    assert paid(b) == sums(**expected)
    repeats(b)


def test_a_reported_row_stays_in_the_running_cost(b: str) -> None:
    """0.004 and 0.004: the second day is what makes it a cent, whoever is told of the first."""
    prepaid(b, purchased="1.00")
    row(b, 1, "0.004", june(19), reported_to_stripe=True)
    row(b, 2, "0.004", june(20))
    night(b)
    assert (drawn(b), paid(b).get("amount_reported")) == ({2: amounts("0", "0.01")}, None)
    repeats(b)


def test_a_reported_row_of_a_postpaid_user_is_not_due(b: str) -> None:
    user(b, mode="postpaid")
    row(b, 1, "0.30", june(19), reported_to_stripe=True)
    row(b, 2, "0.20", june(20), reported_to_stripe=None)
    night(b)
    assert paid(b) == sums(amount_due="0.20", amount_reported="0.30")
    repeats(b)

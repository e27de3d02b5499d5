"""Usage and prices that change after draws were booked: entries with the difference, in either direction."""

from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from commands import RATES, ask, configured, insert
from prepaid import (
    amounts,
    booked,
    deducted,
    drawn,
    entry,
    june,
    last_run,
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
)

THIRTY = amounts("0", "0.30")


def test_usage_that_grows_takes_from_younger_rows(rich: str) -> None:
    reprice(rich, 1, "0.60")
    night(rich)
    assert booked(rich, after=1) == [entry(1, 2, june(18), "0", "0.30"), entry(3, 2, june(20), "0", "-0.20")]
    assert paid(rich) == sums(credits_purchased="1", credits_deducted="1", uncovered="0.20")
    assert transactions(rich, after=1) == moved("-0.10 from 0.10 to 0.00")
    [metadata] = [
        held["metadata"] for held in ask(rich, "SELECT metadata FROM credit_transactions WHERE amount = -0.1")
    ]
    assert (metadata["run_id"], metadata["month"]) == (last_run(rich), "2026-06-01")
    days = [(day["usage_date"], Decimal(str(day["purchased"]))) for day in metadata["days"]]
    assert days == [("2026-06-18", Decimal("0.3")), ("2026-06-20", Decimal("-0.2"))]
    assert deducted(rich) == {1: Decimal("0.60"), 2: Decimal("0.30"), 3: Decimal("0.10")}
    repeats(rich)


def test_usage_that_shrinks_gives_back(rich: str) -> None:
    reprice(rich, 1, "0.10")
    night(rich)
    assert booked(rich, after=1) == [entry(1, 2, june(18), "0", "-0.20")]
    assert (used(rich), deducted(rich)[1]) == (amounts("0", "0.70"), Decimal("0.10"))
    assert transactions(rich, after=1) == moved("0.20 from 0.10 to 0.30")
    repeats(rich)


def test_free_credits_come_back_before_purchased_ones_are_used(ready: str) -> None:
    """Not the kinds that a row once drew count, but what is right now: row 2 now is paid by free credits alone."""
    prepaid(ready, granted="0.40", purchased="1.00")
    row(ready, 1, "0.30", june(19))
    row(ready, 2, "0.30", june(20))
    night(ready)
    assert drawn(ready) == {1: amounts("0.30", "0"), 2: amounts("0.10", "0.20")}
    reprice(ready, 1, "0.10")
    night(ready)
    assert booked(ready, after=1) == [entry(1, 2, june(19), "-0.20", "0"), entry(2, 2, june(20), "0.20", "-0.20")]
    assert used(ready) == amounts("0.40", "0")
    assert transactions(ready, after=1) == moved("0.20 from 0.80 to 1.00")
    repeats(ready)


def test_a_deleted_row_gives_its_draws_back(rich: str) -> None:
    ask(rich, "DELETE FROM usage_daily WHERE id = %s", UUID(int=2))
    night(rich)
    assert booked(rich, after=1) == [entry(2, 2, june(19), "0", "-0.30")]
    assert (used(rich), paid(rich)["credits_deducted"]) == (amounts("0", "0.60"), Decimal("0.60"))
    repeats(rich)


@pytest.mark.thorough
def test_the_last_row_of_a_user_is_deleted(poor: str) -> None:
    """The user then stands in our own tables only."""
    row(poor, 9, "0.30", user_id="bob")
    ask(poor, "DELETE FROM usage_daily WHERE user_id = 'ada'")
    night(poor)
    assert (drawn(poor), paid(poor), used(poor)) == ({}, {}, amounts("0", "0"))
    repeats(poor)


def test_a_row_becomes_bad_and_heals(rich: str) -> None:
    ask(rich, "UPDATE usage_daily SET cpu_hours = 'NaN' WHERE id = %s", UUID(int=2))
    night(rich, code=3)
    assert booked(rich, after=1) == [entry(2, 2, june(19), "0", "-0.30")]
    assert deducted(rich) == {1: Decimal("0.30"), 3: Decimal("0.30")}
    assert used(rich) == amounts("0", "0.60")
    repeats(rich, code=3)
    healing = last_run(rich)
    reprice(rich, 2, "0.20")
    night(rich)
    assert booked(rich, after=healing) == [entry(2, 3, june(19), "0", "0.20")]
    assert (deducted(rich)[2], used(rich)) == (Decimal("0.20"), amounts("0", "0.80"))
    repeats(rich)


def test_a_late_row_comes_first(poor: str) -> None:
    """What younger rows give back is there before it draws, so that no balance on the way is below 0."""
    row(poor, 1, "0.30", june(18))
    night(poor)
    assert drawn(poor) == {1: THIRTY, 2: amounts("0", "0.20")}
    assert transactions(poor, after=1) == moved("0.30 from 0.00 to 0.30", "-0.30 from 0.30 to 0.00")
    assert paid(poor) == sums(credits_purchased="0.50", credits_deducted="0.50", uncovered="0.40")
    repeats(poor)


def test_a_price_changes(rich: str, tmp_path: Path) -> None:
    """Twice the price: row 1 takes 0.60, row 2 the last 0.40, and row 3 gives back what it had."""
    configured(tmp_path, rates=RATES.replace("cpu_hours,2020-01-01,0,0.10", "cpu_hours,2020-01-01,0,0.20"))
    night(rich)
    assert booked(rich, after=1) == [
        entry(1, 2, june(18), "0", "0.30"),
        entry(2, 2, june(19), "0", "0.10"),
        entry(3, 2, june(20), "0", "-0.30"),
    ]
    assert transactions(rich, after=1) == moved("-0.10 from 0.10 to 0.00")
    repeats(rich)


def test_an_override_comes_and_changes(rich: str) -> None:
    """Half the price from the 19th on; then nothing at all."""
    override = {"user_id": "ada", "resource_type": "cpu_hours", "valid_from": "2026-06-19T00:00Z"}
    insert(rich, "user_pricing_overrides", **override, override_price=Decimal("0.05"))
    night(rich)
    assert drawn(rich) == {1: THIRTY, 2: amounts("0", "0.15"), 3: amounts("0", "0.15")}
    assert transactions(rich, after=1) == moved("0.30 from 0.10 to 0.40")
    ask(rich, "UPDATE user_pricing_overrides SET override_price = 0")
    night(rich)
    assert (drawn(rich), used(rich)) == ({1: THIRTY}, THIRTY)
    repeats(rich)

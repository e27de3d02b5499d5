"""What counts as a cause of change."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from jobs.rollups.causes import COMPARED_AMOUNTS, find_causes

JUNE = date(2026, 6, 1)
KEY = {"month": JUNE, "user_id": "ada"}


HASHES = dict.fromkeys(("usage_hash", "rates_hash", "overrides_hash"), "same") | {"credits_hash": "1.7"}
BEFORE = dict.fromkeys(COMPARED_AMOUNTS.values(), 0) | HASHES | {"m": 5}


def cause(before: dict[str, Any], after: dict[str, Any], repriced: str = "m") -> str:
    """Why a user-month that has used the meter m changes; the price of ``repriced`` and the account have changed."""
    stored = {f"{name}_stored": value for name, value in (BEFORE | before).items()}
    row = KEY | BEFORE | {"total_cost": 9, "rates_hash": "dearer"} | after | stored | {"account_hash": "8"}
    found: str = (
        find_causes(pl.LazyFrame([row]), ["m"], {JUNE: ("same", frozenset(repriced))}).collect()["cause"].item()
    )
    return found


@pytest.mark.parametrize("paid", ["credits_deducted", "uncovered"])
def test_an_account_is_a_cause_only_where_credits_pay(paid: str) -> None:
    assert cause({}, {}) == "price"
    assert cause({}, {paid: 9}) == cause({paid: 9}, {}) == "price+credit"


def test_a_price_is_a_cause_where_its_meter_is_used_or_no_one_knows_the_former_prices() -> None:
    """Where no input is the cause, it is credit."""
    nothing, forgotten = {"m": 0}, {"rates_hash": "forgotten"}
    assert [cause({}, {}, meter) for meter in "mn"] == ["price", "credit"]
    assert [cause(forgotten, {}, meter) for meter in "mn"] == ["price", "price"]
    assert [cause(forgotten | nothing, nothing, meter) for meter in "mn"] == ["credit", "credit"]

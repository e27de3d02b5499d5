"""Rows of usage_daily that are written."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from jobs.domain.rules import LOTS
from jobs.domain.schemas import PAYABLE
from jobs.pipeline.usage_updates import make_debt_updates


@pytest.mark.parametrize("shown", [10, 0, None])
def test_a_row_of_a_debt_is_written_from_what_the_ledger_has_whatever_it_shows(shown: int | None) -> None:
    """Its hash as well, for user_monthly has the hash of the row as the ledger has it."""
    values = {"date": date(2026, 5, 31), "month": date(2026, 5, 1), "user_id": "ada", "deducted": shown, "drawn": 10}
    schema: dict[str, Any] = {**PAYABLE, **dict.fromkeys(LOTS, pl.Int128)}
    debt = dict.fromkeys(schema, 0) | values | {"ledger_hash": 7, "written_hash": 8, "free": 1, "purchased": 2}
    debts = pl.DataFrame([debt], schema=schema)
    written = make_debt_updates(debts, writes_deducted=True).select("written_hash", "deducted", "new_credits_deducted")
    assert written.rows() == [(7, shown, 13)]
    assert make_debt_updates(debts, writes_deducted=False).is_empty()

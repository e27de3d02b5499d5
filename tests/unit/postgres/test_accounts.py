"""The last wall before a balance: whatever a chunk computed, an increment never takes more than there is."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from commands import applied, ask, insert
from ways import job_url

from jobs.domain.errors import RefusedError
from jobs.postgres import accounts, preflight
from jobs.postgres.connections import connect, transaction
from jobs.postgres.conninfo import Address
from jobs.settings import load

CENT = 10**8


@pytest.mark.parametrize("cents", [60, 50])
def test_no_increment_takes_a_balance_below_nothing(database: str, cents: int) -> None:
    """50 are there: 20 free and 30 purchased."""
    insert(applied(database), "user_credits", user_id="ada", total_purchased="0.30", free_credits_granted="0.20")
    key = {
        "user_id": "ada",
        "id": 1,
        "month": date(2026, 6, 1),
        "date": date(2026, 6, 20),
        "is_first_draw": True,
    }
    kinds = {"id": pl.UInt128, "free": pl.Int128, "purchased": pl.Int128}
    due = pl.DataFrame([key | {"free": 20 * CENT, "purchased": (cents - 20) * CENT}], schema_overrides=kinds)
    settings = load(None, {}, Path.cwd())
    with connect(Address(job_url(database, lambda: settings))) as link:
        source, _ = preflight.inspect_source(link, settings)
        if cents > 50:
            with (
                pytest.raises(RefusedError, match="user_credits: expected to write 1 rows; wrote 0"),
                transaction(link),
            ):
                accounts.post_draws(link, settings, source.credits, due, 1)
        else:
            with transaction(link):
                accounts.post_draws(link, settings, source.credits, due, 1)
    [held] = ask(database, "SELECT total_used + free_credits_used AS used FROM user_credits")
    assert held["used"] * 100 == (cents if cents <= 50 else 0)
    assert len(ask(database, "SELECT 1 AS one FROM rollup.credit_draws")) == (cents <= 50)

"""The first day that is drawn, the flag that makes a prepaid user one, and the privileges that credits need."""

from decimal import Decimal
from pathlib import Path

import pytest
from commands import ask, configured, usage_jobs
from prepaid import (
    amounts,
    booked,
    deducted,
    drawn,
    june,
    moved,
    night,
    paid,
    prepaid,
    repeats,
    row,
    sums,
    transactions,
    used,
    user,
)
from psycopg.types.json import Jsonb
from test_bad_input import SEEN, role

# The first day, and the flag


@pytest.mark.parametrize(("start", "first"), [("2026-06-19", 2), ("2026-06", 1), ("2026-07", 4), ("2026-06-20", 3)])
def test_prepaid_rows_are_drawn_from_credits_start_on(ready: str, start: str, first: int) -> None:
    """Before it they are neither drawn, nor uncovered, nor due; what is postpaid is due from ever."""
    prepaid(ready, purchased="5")
    user(ready, "eve", "postpaid")
    for number in (1, 2, 3):
        row(ready, number, "0.30", june(17 + number))
    row(ready, 9, "0.30", june(1), user_id="eve")
    night(ready, USAGE_JOBS_CREDITS__START=start)
    assert drawn(ready) == {number: amounts("0", "0.30") for number in range(first, 4)}
    assert paid(ready).keys() <= {"credits_purchased", "credits_deducted"}
    assert paid(ready, "eve") == sums(amount_due="0.30")
    modes = ask(ready, "SELECT user_id, billing_mode FROM rollup.user_monthly ORDER BY user_id")
    assert [(found["user_id"], found["billing_mode"]) for found in modes] == [("ada", "prepaid"), ("eve", "postpaid")]
    repeats(ready, USAGE_JOBS_CREDITS__START=start)


def test_imported_draws_before_credits_start_stay(ready: str) -> None:
    prepaid(ready, purchased="0.40", used="0.20")
    row(ready, 1, "0.30", june(18), credits_deducted="0.20")
    row(ready, 2, "0.30", june(20))
    night(ready, USAGE_JOBS_CREDITS__START="2026-06-19")
    assert drawn(ready) == {1: amounts("0", "0.20"), 2: amounts("0", "0.20")}
    assert paid(ready) == sums(credits_purchased="0.40", credits_deducted="0.40", uncovered="0.10")
    repeats(ready, USAGE_JOBS_CREDITS__START="2026-06-19")


def test_credits_start_in_the_settings_file(ready: str, tmp_path: Path) -> None:
    configured(tmp_path, settings='[credits]\nstart = "2026-06-20"\n')
    prepaid(ready, purchased="5")
    row(ready, 1, "0.30", june(19))
    row(ready, 2, "0.30", june(20))
    night(ready)
    assert drawn(ready) == {2: amounts("0", "0.30")}


@pytest.mark.parametrize("value", ["soon", "2026-13", "2026-06-31"])
def test_a_credits_start_that_is_no_day(ready: str, value: str) -> None:
    ran = usage_jobs("run", url=ready, USAGE_JOBS_CREDITS__START=value)
    assert ran.code == 2
    assert "USAGE_JOBS_CREDITS__START" in ran.err
    assert value in ran.err


@pytest.mark.parametrize(
    ("flags", "mode"),
    [
        ({"credits": True, "other": False}, "prepaid"),
        ({"credits": False}, "postpaid"),
        ({"credits": None}, "postpaid"),
        ({"other": True}, "postpaid"),
        ({}, "postpaid"),
        (None, "postpaid"),
    ],
)
def test_a_prepaid_user_without_the_flag_is_postpaid(ready: str, flags: dict[str, object] | None, mode: str) -> None:
    prepaid(ready, purchased="5")
    ask(ready, "UPDATE users SET feature_flags = %s", None if flags is None else Jsonb(flags))
    row(ready, 1, "0.30")
    night(ready, USAGE_JOBS_CREDITS__FEATURE_FLAG="credits")
    assert ask(ready, "SELECT mode FROM rollup.billing_modes") == [{"mode": mode}]
    assert paid(ready).get("amount_due", 0) == (Decimal("0.30") if mode == "postpaid" else 0)
    assert deducted(ready) == ({} if mode == "postpaid" else {1: Decimal("0.30")})
    repeats(ready, USAGE_JOBS_CREDITS__FEATURE_FLAG="credits")


def test_a_flag_makes_nobody_prepaid(ready: str) -> None:
    user(ready, mode="postpaid", feature_flags=Jsonb({"credits": True}))
    row(ready, 1, "0.30")
    night(ready, USAGE_JOBS_CREDITS__FEATURE_FLAG="credits")
    assert paid(ready) == sums(amount_due="0.30")


# Privileges


@pytest.mark.parametrize(
    ("revoked", "word"),
    [
        (None, ""),
        ("UPDATE ON user_credits", "user_credits.total_used"),
        ("SELECT ON user_credits", "user_credits.user_id"),
        ("INSERT ON credit_transactions", "credit_transactions"),
        ("UPDATE ON usage_daily", "usage_daily.credits_deducted"),
        ("SELECT ON users", "users.billing_mode"),
    ],
)
def test_a_privilege_that_credits_need(ready: str, revoked: str | None, word: str) -> None:
    prepaid(ready, purchased="5")
    row(ready, 1, "0.30")
    with role(ready) as (name, as_role):
        for table in SEEN:
            ask(ready, f"CREATE POLICY ours ON {table} TO {name} USING (true) WITH CHECK (true)")
        ask(ready, f"GRANT INSERT ON credit_transactions TO {name}")
        ask(ready, f"GRANT UPDATE ON user_credits, usage_daily TO {name}")
        if revoked is not None:
            ask(ready, f"REVOKE {revoked} FROM {name}")
        ran = usage_jobs("run", url=as_role)
        assert ran.code == usage_jobs("check", url=as_role).code == (5 if revoked else 0), ran.err
        assert word in ran.err
    assert (booked(ready) == []) is (revoked is not None)
    assert transactions(ready) == ([] if revoked else moved("-0.30 from 5 to 4.70"))


@pytest.mark.parametrize("hidden", ["user_credits", "credit_transactions", "users"])
def test_row_level_security_that_hides_accounts_stops_the_run(ready: str, hidden: str) -> None:
    """A role that sees no account would find all prepaid usage uncovered, without an error."""
    prepaid(ready, purchased="5")
    row(ready, 1, "0.30")
    with role(ready) as (name, as_role):
        for table in SEEN:
            if table != hidden:
                ask(ready, f"CREATE POLICY ours ON {table} TO {name} USING (true) WITH CHECK (true)")
        ask(ready, f"GRANT INSERT ON credit_transactions TO {name}")
        ask(ready, f"GRANT UPDATE ON user_credits, usage_daily TO {name}")
        ran = usage_jobs("run", url=as_role)
        assert ran.code == 5, ran.err
        assert hidden in ran.err
    assert (booked(ready), used(ready)) == ([], amounts("0", "0"))


COLUMNS = {
    "usage_daily": "xmin, id, user_id, date, hopsworks_cluster_id, total_cost, credits_deducted, cpu_hours, gpu_hours,"
    " storage_gb, feature_store_api_calls, model_inference_calls",
    "users": "id, billing_mode",
    "hopsworks_clusters": "id, name",
    "user_credits": "user_id, total_purchased, total_used, free_credits_granted, free_credits_used",
}


@pytest.mark.thorough
def test_privileges_on_the_needed_columns_are_enough(ready: str) -> None:
    """What `check` finds good, a run can do, corrections too: no column is read that the contract does not name."""
    prepaid(ready, granted="0.10", purchased="5")
    row(ready, 1, "0.30")
    row(ready, 2, "0.30")
    with role(ready) as (name, as_role):
        for table in SEEN:
            ask(ready, f"CREATE POLICY ours ON {table} TO {name} USING (true) WITH CHECK (true)")
            ask(ready, f"REVOKE ALL ON {table} FROM {name}")
        for table, columns in COLUMNS.items():
            ask(ready, f"GRANT SELECT ({columns}) ON {table} TO {name}")
        ask(ready, f"GRANT SELECT ON user_pricing_overrides TO {name}")
        ask(ready, f"GRANT UPDATE (credits_deducted) ON usage_daily TO {name}")
        ask(ready, f"GRANT UPDATE (total_used, free_credits_used) ON user_credits TO {name}")
        ask(ready, f"GRANT INSERT, SELECT ON credit_transactions TO {name}")
        assert usage_jobs("check", url=as_role).code == 0
        for change in ("SELECT 1", "UPDATE usage_daily SET cpu_hours = 1"):
            ask(ready, change)
            ran = usage_jobs("run", url=as_role)
            assert ran.code == 0, ran.err
    assert used(ready) == amounts("0.10", "0.10")

"""The sample is the same for ever, and shows every awkward thing that the design names, at any size."""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from jobs.demo.sample import CAST, load

if TYPE_CHECKING:
    from conftest import Databases

LAST = date(2026, 6, 20)
TABLES = (
    "users",
    "hopsworks_clusters",
    "usage_daily",
    "user_credits",
    "credit_transactions",
    "user_pricing_overrides",
)
Ask = Callable[..., list[dict[str, Any]]]


def fill(url: str, users: int, days: int, last_day: date = LAST) -> None:
    with psycopg.connect(url) as conn:
        load(conn, users=users, days=days, last_day=last_day)


@pytest.fixture(scope="module", params=[(1, 8), (40, 45)], ids=["smallest", "larger"])
def ask(databases: "Databases", request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Rows of a sample, as dictionaries. (All columns of all usage rows cannot be had: one date is infinite.)"""
    url = databases.create()
    fill(url, *request.param)
    with psycopg.connect(url, row_factory=dict_row) as conn:
        yield lambda where="true", table="usage_daily", columns="*": conn.execute(
            f"select {columns} from {table} where {where}".encode()
        ).fetchall()
    databases.retire([url])


def member(name: str) -> str:
    return f"user_id = 'auth0|demo-{name}' and isfinite(date) and cpu_hours < 1e8"


def fingerprint(url: str) -> dict[str, object]:
    query = "select md5(string_agg(t::text, ';' order by t::text)), count(*) from {} t"
    with psycopg.connect(url) as conn:
        return {table: conn.execute(query.format(table).encode()).fetchone() for table in TABLES}


def test_the_same_arguments_give_the_same_rows(make_database: Callable[..., str]) -> None:
    first, second = make_database(), make_database()
    fill(first, 40, 45)
    fill(second, 40, 45)
    assert fingerprint(first) == fingerprint(second)


def test_a_row_of_the_crowd_is_the_same_for_ever(database: str) -> None:
    fill(database, 40, 45)
    with psycopg.connect(database) as conn:
        row = conn.execute("select * from usage_daily where user_id = 'auth0|demo-00004' and date = '2026-06-01'")
        found = row.fetchone()
    assert found is not None
    assert found[:8] == (
        UUID("20260601-0000-4000-8000-000000000004"),
        "auth0|demo-00004",
        date(2026, 6, 1),
        Decimal("11.55"),
        Decimal("5.80"),
        Decimal("249.39"),
        21_229,
        853,
    )


@pytest.mark.parametrize(("users", "days"), [(1, 1), (10, 3), (11, 1), (200, 45)])
def test_counts(database: str, users: int, days: int) -> None:
    fill(database, users, days)
    crowd = max(0, users - len(CAST))
    with psycopg.connect(database) as conn:
        assert conn.execute("select count(*) from users").fetchone() == (max(users, len(CAST)),)
        assert conn.execute("select count(*) from usage_daily").fetchone() == ((crowd + 12) * days + 10,)
        assert conn.execute("select max(date) from usage_daily where isfinite(date)").fetchone() == (LAST,)


@pytest.mark.parametrize(("users", "days"), [(0, 5), (5, 0)])
def test_nothing_is_not_a_sample(database: str, users: int, days: int) -> None:
    with pytest.raises(ValueError, match="at least 1 user and 1 day"):
        fill(database, users, days)


def test_a_failed_load_leaves_nothing(database: str) -> None:
    fill(database, 1, 1)
    before = fingerprint(database)
    with psycopg.connect(database, autocommit=True) as conn, pytest.raises(psycopg.errors.UniqueViolation):
        load(conn, users=1, days=1, last_day=LAST)
    assert fingerprint(database) == before


def test_storage_passes_every_tier(ask: Ask) -> None:
    held = {row["storage_gb"] for row in ask(member("tiers"))}
    assert len([bound for bound in (10, 100, 1_000, 10_000) if min(held) < bound < max(held)]) == 4


def test_two_rows_of_a_day_pass_a_tier_together(ask: Ask) -> None:
    for day in {row["date"] for row in ask(member("twice"))}:
        rows = ask(member("twice") + f" and date = '{day}'")
        assert len({row["hopsworks_cluster_id"] for row in rows}) == 2
        assert max(row["storage_gb"] for row in rows) < 100 < sum(row["storage_gb"] for row in rows)


def test_somebody_changes_cluster_inside_a_month(ask: Ask) -> None:
    rows = sorted(ask(member("mover")), key=lambda row: row["date"])
    clusters = [(row["hopsworks_cluster_id"], row["date"].month) for row in rows]
    [(old, new)] = [(old, new) for old, new in pairwise(clusters) if old[0] != new[0]]
    assert old[1] == new[1]


def test_overrides_start_and_end_inside_a_month(ask: Ask) -> None:
    overrides = ask(table="user_pricing_overrides")
    days = {row["date"] for row in ask(member("override"))}
    assert {row["resource_type"] for row in overrides} == {"cpu_hours", "gpu_hours", "api_calls", "storage_gb"}
    for row in overrides:
        since, until = row["valid_from"].date(), row["valid_until"].date()
        month = {day for day in days if (day.year, day.month) == (since.year, since.month)}
        assert min(month) < since < until < max(month)


def test_overrides_are_of_every_kind(ask: Ask) -> None:
    kinds = [
        (row["override_price"] is not None, row["discount_percentage"] is not None)
        for row in ask(table="user_pricing_overrides")
    ]
    assert set(kinds) == {(True, False), (False, True), (False, False)}
    [older, newer] = ask("resource_type = 'cpu_hours' order by valid_from", "user_pricing_overrides")
    assert older["valid_from"] < newer["valid_from"] < older["valid_until"]


def test_rejects_of_every_kind(ask: Ask) -> None:
    wrong = (
        "user_id is null",
        "date is null",
        "not isfinite(date)",
        "cpu_hours = 'NaN'",
        "gpu_hours = 'Infinity'",
        "storage_gb < 0",
        "model_inference_calls < 0",
        "cpu_hours > 1e8 and cpu_hours <> 'NaN'",
        "total_cost = 'NaN'",
        "total_cost < 0",
    )
    for where in wrong:
        assert len(ask(where, columns="id")) == 1, where
    assert len(ask(" or ".join(wrong), columns="id")) == len(wrong)


def test_the_deleted_and_the_unknown_have_usage(ask: Ask) -> None:
    [deleted] = ask("id = 'auth0|demo-deleted'", "users")
    assert deleted["status"] == "deleted"
    assert ask(member("deleted"))
    assert ask(member("unknown"))
    assert not ask("id = 'auth0|demo-unknown'", "users")


def test_clusters_null_and_unknown(ask: Ask) -> None:
    known = {row["id"] for row in ask(table="hopsworks_clusters")}
    used = {row["hopsworks_cluster_id"] for row in ask(member("nowhere"))}
    assert None in used
    assert used - known - {None}


def test_costs_recorded_null_and_zero(ask: Ask) -> None:
    assert {row["total_cost"] for row in ask(member("recorded"))} == {Decimal("0.55"), None, Decimal(0)}


def test_a_null_quantity_is_there(ask: Ask) -> None:
    assert ask("storage_gb is null")


def test_accounts_are_as_their_history_says_and_undrawn(ask: Ask) -> None:
    for account in ask(table="user_credits"):
        history = ask(f"user_id = '{account['user_id']}' order by created_at", "credit_transactions")
        credits = account["total_purchased"] + account["free_credits_granted"]
        assert sum(row["amount"] for row in history) == credits
        assert (account["total_used"], account["free_credits_used"]) == (0, 0)
        for row in history:
            assert row["balance_after"] == row["balance_before"] + row["amount"]
    assert {row["credits_deducted"] for row in ask(columns="credits_deducted")} == {Decimal(0)}


def test_prepaid_users_have_the_flag(ask: Ask) -> None:
    modes = {row["billing_mode"] for row in ask("feature_flags ? 'prepaid'", "users")}
    assert modes == {"prepaid"}

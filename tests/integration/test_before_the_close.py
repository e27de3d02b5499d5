"""What happens after a user's batch and before the run ends: the month closes with it, or stays open."""

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from commands import add_row, ask, configured, insert, usage_jobs

from jobs.pipeline import run
from jobs.pipeline.finalize import finalize

MAY, JUNE_3 = date(2026, 5, 10), date(2026, 6, 3)
TODAY = date(2026, 6, 4)
NORTH, SOUTH = UUID(int=1), UUID(int=2)


@pytest.fixture
def url(ready: str, tmp_path: Any) -> str:
    """Three users with usage in May, which the next run closes: ada is prepaid and short of credit."""
    configured(tmp_path, settings='start = "2026-05"\nworkers = 1\n')
    for user in ("ada", "bob", "50%off%%"):
        for day in (10, 11, 12):
            add_row(ready, user_id=user, date=MAY.replace(day=day), cpu_hours=100, hopsworks_cluster_id=NORTH)
    add_row(ready, user_id="bob", date=MAY, cpu_hours=1, hopsworks_cluster_id=SOUTH)
    with psycopg.connect(ready) as link:
        link.execute(b"UPDATE users SET billing_mode = 'prepaid' WHERE id IN ('ada', '50%off%%')")
    insert(ready, "user_credits", user_id="ada", total_purchased=5)
    return ready


def night(url: str, day: date = JUNE_3, *words: str) -> dict[str, Any]:
    ran = usage_jobs("run", "--json", "--date", str(day), *words, url=url, today=TODAY)
    assert ran.code == 0, ran.err
    report: dict[str, Any] = json.loads(ran.out)
    return report


@pytest.fixture
def before_the_end(monkeypatch: pytest.MonkeyPatch, url: str) -> Callable[[str], None]:
    """before_the_end(SQL): another program does this once, after the batches and before the run ends."""
    waiting: list[str] = []

    def first(*arguments: Any, **named: Any) -> Any:
        while waiting:
            with psycopg.connect(url) as link:
                link.execute(waiting.pop().encode())
        return finalize(*arguments, **named)

    monkeypatch.setattr(run, "finalize", first)
    return waiting.append


CHANGES = {
    "a purchase": (
        "UPDATE user_credits SET total_purchased = total_purchased + 45 WHERE user_id = 'ada';"
        "INSERT INTO credit_transactions (user_id, type, amount, balance_before, balance_after)"
        " SELECT user_id, 'purchase', 45, balance - 45, balance FROM (SELECT user_id, total_purchased"
        " + free_credits_granted - total_used - free_credits_used AS balance FROM user_credits"
        " WHERE user_id = 'ada') AS a"
    ),
    "a row moves to another cluster": (
        "UPDATE usage_daily SET hopsworks_cluster_id = '00000000-0000-0000-0000-000000000002' WHERE user_id = 'ada'"
    ),
    "a row goes": "DELETE FROM usage_daily WHERE user_id = 'bob' AND cpu_hours = 1",
    "a row loses its user": "UPDATE usage_daily SET user_id = NULL WHERE user_id = 'bob' AND cpu_hours = 1",
    "a first account": "INSERT INTO user_credits (user_id, total_purchased) VALUES ('50%off%%', 100)",
}


@pytest.mark.thorough
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_month_closes_with_what_changed_after_the_batches(
    url: str, before_the_end: Callable[[str], None], change: str
) -> None:
    before_the_end(change)
    ran = usage_jobs("run", "--json", "--date", str(JUNE_3), url=url, today=TODAY)
    assert ran.code == (3 if "NULL" in change else 0), ran.err
    assert [row["closed"] for row in ask(url, CLOSED)] == [True]
    proof = usage_jobs("reconcile", "--from", "2026-05-01", "--to", "2026-06-03", url=url, today=TODAY)
    assert proof.code == 0, proof.out
    [row] = ask(url, NEITHER)
    assert row["rows"] == 0, "neither priced nor rejected"


CLOSED = "SELECT closed_at IS NOT NULL AS closed FROM rollup.months WHERE month = '2026-05-01'"
NEITHER = """
SELECT count(*) AS rows FROM usage_daily AS u
WHERE NOT EXISTS (SELECT FROM rollup.rejects AS r WHERE r.usage_daily_id = u.id)
  AND NOT EXISTS (SELECT FROM rollup.user_daily AS d WHERE d.date = u.date AND d.user_id = u.user_id
                  AND d.cluster_id IS NOT DISTINCT FROM u.hopsworks_cluster_id)
"""


@pytest.mark.thorough
def test_a_month_closes_although_purchases_never_stop(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes as it was when detection looked: who differed then is recomputed in the closing transaction."""
    bought: list[int] = []

    def buys_before(*arguments: Any, **named: Any) -> Any:
        bought.append(1)
        ask(url, "UPDATE user_credits SET total_purchased = total_purchased + 1 WHERE user_id = 'ada'")
        return finalize(*arguments, **named)

    monkeypatch.setattr(run, "finalize", buys_before)
    report = night(url)
    assert (report["closed"], report["users_recomputed"], len(bought)) == (["2026-05-01"], 4, 1)  # ada twice
    [row] = ask(url, "SELECT credits_deducted, uncovered FROM rollup.user_monthly WHERE user_id = 'ada'")
    assert (row["credits_deducted"], row["uncovered"]) == (Decimal(6), Decimal(24))
    logged = "SELECT rows_changed, rows_read FROM rollup.runs ORDER BY run_id DESC LIMIT 1"
    assert ask(url, logged) == [{"rows_changed": report["rows_changed"], "rows_read": report["rows_read"]}]
    assert night(url, JUNE_3, "--full")["rows_changed"] == 0


@pytest.mark.thorough
@pytest.mark.direct("a lock is held on the server, whatever way leads there")
def test_a_lock_that_cannot_be_had_keeps_the_month_open(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for another for long in the closing transaction; the run ends, and says so."""
    with psycopg.connect(url) as other:

        def locked_before(*arguments: Any, **named: Any) -> Any:
            ask(url, "UPDATE user_credits SET total_purchased = total_purchased + 1 WHERE user_id = 'ada'")
            other.execute("LOCK TABLE credit_transactions IN SHARE MODE")
            return finalize(*arguments, **named)

        monkeypatch.setattr(run, "finalize", locked_before)
        monkeypatch.setattr(run, "CLOSING_TRIES", 1)
        ran = usage_jobs("run", "--json", "--date", str(JUNE_3), url=url, today=TODAY)
    assert (ran.code, ran.object["closed"], ran.object["users_left"]) == (3, [], 1)
    monkeypatch.undo()
    assert night(url)["closed"] == ["2026-05-01"]


def test_an_override_that_comes_before_the_close_keeps_the_month_open(
    url: str, before_the_end: Callable[[str], None]
) -> None:
    before_the_end(
        "INSERT INTO user_pricing_overrides (user_id, resource_type, override_price, valid_from)"
        " VALUES ('bob', 'cpu_hours', 9, '2026-05-01')"
    )
    ran = usage_jobs("run", "--json", "--date", str(JUNE_3), url=url, today=TODAY)
    assert (ran.code, [row["closed"] for row in ask(url, CLOSED)]) == (3, [False])
    assert night(url)["closed"] == ["2026-05-01"]
    [row] = ask(url, "SELECT total_cost FROM rollup.user_monthly WHERE user_id = 'bob' AND month = '2026-05-01'")
    assert row["total_cost"] == 301 * 9


def test_a_user_who_is_entered_before_the_close_pays_as_entered(
    url: str, before_the_end: Callable[[str], None]
) -> None:
    ask(url, "ALTER TABLE users DROP CONSTRAINT users_billing_mode_check")
    ask(url, "DELETE FROM users WHERE id = 'bob'")
    before_the_end("INSERT INTO users (id, billing_mode) VALUES ('bob', 'free')")
    assert night(url)["closed"] == ["2026-05-01"]
    paid = "SELECT amount_due, amount_free FROM rollup.user_monthly WHERE user_id = 'bob' AND month = '2026-05-01'"
    assert ask(url, paid) == [{"amount_due": 0, "amount_free": Decimal("30.1")}]
    assert night(url, JUNE_3, "--full")["rows_changed"] == 0


def test_a_user_whose_id_holds_a_per_cent_sign_is_one_like_any_other(url: str) -> None:
    night(url)
    [row] = ask(url, "SELECT total_cost, uncovered FROM rollup.user_monthly WHERE user_id = '50%off%%'")
    assert (row["total_cost"], row["uncovered"]) == (Decimal(30), Decimal(30))
    assert night(url)["users_recomputed"] == 0


@pytest.mark.thorough
def test_after_the_close_only_the_months_that_an_account_pays_depend_on_it(url: str) -> None:
    """ada pays May by credits and June, from its first row on, by invoice: a full run finds nothing to change."""
    assert night(url, JUNE_3.replace(day=1))["closed"] == []
    with psycopg.connect(url) as link:
        link.execute(b"UPDATE users SET billing_mode = 'postpaid' WHERE id = 'ada'")
    add_row(url, user_id="ada", date=JUNE_3, cpu_hours=100)
    assert night(url)["closed"] == ["2026-05-01"]
    assert night(url, JUNE_3, "--full")["rows_changed"] == 0
    purchase = b"UPDATE user_credits SET total_purchased = total_purchased + 45000 WHERE user_id = 'ada'"
    for settled in (1, 0):  # the first one pays what is owed for May
        with psycopg.connect(url) as link:
            link.execute(purchase)
        assert night(url)["users_recomputed"] == settled


@pytest.mark.thorough
def test_an_account_that_is_no_number_keeps_the_month_open(url: str) -> None:
    """What was drawn on a row that is gone can only be given back once the account is a number again."""
    night(url, JUNE_3.replace(day=1))
    with psycopg.connect(url) as link:
        link.execute(b"UPDATE user_credits SET total_purchased = 'NaN' WHERE user_id = 'ada'")
        link.execute(b"DELETE FROM usage_daily WHERE user_id = 'ada' AND date = '2026-05-10'")
    for words in (("--dry-run",), ()):
        ran = usage_jobs("run", "--json", "--date", str(JUNE_3), *words, url=url, today=TODAY)
        assert (ran.code, ran.object["closed"]) == (3, [])
        assert any("2026-05 stays open: the accounts of ada" in note for note in ran.object["notes"])
    with psycopg.connect(url) as link:
        link.execute(b"UPDATE user_credits SET total_purchased = 5 WHERE user_id = 'ada'")
    assert night(url)["closed"] == ["2026-05-01"]
    [row] = ask(
        url,
        "SELECT sum(d.free + d.purchased) AS drawn, sum(d.free + d.purchased) FILTER (WHERE u.id IS NULL) AS on_nothing"
        " FROM rollup.credit_draws AS d LEFT JOIN usage_daily AS u ON u.id = d.usage_daily_id",
    )
    assert (row["drawn"], row["on_nothing"]) == (5, 0)
    assert usage_jobs("reconcile", url=url, today=TODAY).code == 0

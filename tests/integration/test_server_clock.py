"""Which day it is: the database server says so, and only what batches have written counts as covered."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from commands import add_row, applied, ask, configured, insert, usage_jobs

from jobs.pipeline import batches, run
from jobs.postgres import server_clock

START, TODAY = {"USAGE_JOBS_START": "2026-05"}, date(2026, 6, 11)
A_YEAR_AHEAD = date(2027, 6, 11)


def prepare_usage(url: str) -> None:
    for day in (date(2026, 5, 5), date(2026, 6, 5)):
        add_row(url, user_id="ada", date=day, cpu_hours=100)
    ask(url, "UPDATE users SET billing_mode = 'postpaid'")
    assert night(url) == 0


@pytest.fixture
def url(make_prepared: Callable[[Callable[[str], object]], str], tmp_path: Any) -> str:
    """A user with usage on a day of May and one of June, covered up to 10 June; May is closed."""
    configured(tmp_path, settings="workers = 1\n")
    return make_prepared(prepare_usage)


def night(url: str, *words: str, today: date = TODAY) -> int:
    return usage_jobs("run", *words, url=url, today=today, **START).code


def months(url: str) -> dict[str, bool]:
    """Whether each month is closed."""
    rows = ask(url, "SELECT to_char(month, 'YYYY-MM') AS month, closed_at FROM rollup.months ORDER BY month")
    return {row["month"]: row["closed_at"] is not None for row in rows}


def test_the_servers_clock_counts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose clock is a year ahead does as usual, and says what is wrong with it."""
    monkeypatch.setattr(server_clock, "_host", lambda: datetime.now(UTC) + timedelta(days=365))
    ran = usage_jobs("run", url=url, today=TODAY + timedelta(days=1), **START)
    assert ran.code == 0
    assert "this host's clock is 365 days, 0:00:00 ahead of the database server's" in " ".join(ran.out.split())
    assert months(url) == {"2026-05": True, "2026-06": False}


@pytest.mark.parametrize(("minutes", "said"), [(-6, True), (-4, False), (4, False), (6, True)])
def test_five_minutes_are_no_difference(url: str, monkeypatch: pytest.MonkeyPatch, minutes: int, *, said: bool) -> None:
    monkeypatch.setattr(server_clock, "_host", lambda: datetime.now(UTC) + timedelta(minutes=minutes))
    findings = usage_jobs("check", "--json", url=url, today=TODAY, **START).object["findings"]
    assert any("this host's clock is" in finding["found"] for finding in findings) is said


@pytest.fixture(params=["stopped", "killed"])
def stopped(url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A run whose clock is a year ahead was stopped before its first batch, or killed right after its begin: its row
    still says running. Prices of overrides end with `active`."""

    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    ask(url, "ALTER TABLE user_pricing_overrides DROP valid_from, ADD active boolean DEFAULT true")
    with monkeypatch.context() as before_the_first:
        if request.param == "killed":
            before_the_first.setattr(run._Run, "perform", stop)
        else:
            before_the_first.setattr(batches, "run_batches", stop)
        half = {"resource_type": "cpu_hours", "discount_percentage": 50, "created_at": date(2026, 6, 1)}
        insert(url, "user_pricing_overrides", user_id="ada", **half)
        assert night(url, "--full", today=A_YEAR_AHEAD) == 130
    return url


@pytest.mark.thorough
def test_a_run_that_wrote_nothing_has_covered_nothing(stopped: str) -> None:
    """Nothing of that year is covered or closed, and who switches later is due from his own day on."""
    url = stopped
    assert night(url) == 0
    assert [month for month, is_closed in months(url).items() if is_closed] == ["2026-05"]
    ask(url, "UPDATE users SET billing_mode = 'prepaid'")
    assert night(url, today=TODAY + timedelta(days=1)) == 0
    newest = "SELECT valid_from, mode FROM rollup.billing_modes ORDER BY valid_from DESC LIMIT 1"
    assert ask(url, newest) == [{"valid_from": TODAY, "mode": "prepaid"}]


@pytest.mark.thorough
def test_a_run_that_wrote_nothing_decides_nothing(stopped: str, request: pytest.FixtureRequest) -> None:
    """Neither the cost mode and the currency of a month, nor how long an override holds that is switched off now: up to
    the day before, where a run has seen it at all."""
    price = 10 if "killed" in request.node.name else 5
    ask(stopped, "UPDATE user_pricing_overrides SET active = false")
    rated = START | {"USAGE_JOBS_COST": "rated", "USAGE_JOBS_CURRENCY": "EUR"}
    for day in (TODAY, TODAY + timedelta(days=1), date(2026, 7, 2)):
        add_row(stopped, user_id="ada", date=day - timedelta(days=1), cpu_hours=100)
        assert usage_jobs("run", url=stopped, today=day, **rated).code == 0
    kept = ask(stopped, "SELECT month, cost_mode, currency FROM rollup.months WHERE row_count IS NOT NULL ORDER BY 1")
    modes = {row["month"].month: (row["cost_mode"], row["currency"]) for row in kept}
    assert modes == {5: ("recorded", "USD"), 6: ("recorded", "USD"), 7: ("rated", "EUR")}
    costs = ask(stopped, "SELECT date, total_cost FROM rollup.user_daily WHERE date > '2026-06-01' ORDER BY 1")
    assert [(row["date"].day, row["total_cost"]) for row in costs] == [(5, price), (10, price), (11, 10), (1, 10)]


@pytest.mark.thorough
def test_days_after_yesterday_are_never_covered(url: str) -> None:
    """A run of the year ahead that did come to its end closes its months, which are opened again one by one."""
    assert night(url, today=A_YEAR_AHEAD) == 0
    assert months(url)["2027-04"]
    refused = usage_jobs("run", url=url, today=TODAY, **START)
    assert (refused.code, "2026-06 is closed" in refused.err) == (2, True)
    closed = sorted((month for month, is_closed in months(url).items() if is_closed), reverse=True)
    for month in closed[:-1]:
        assert usage_jobs("reopen", "--month", month, "--reason", "wrong clock", url=url, today=TODAY).code == 0
    add_row(url, user_id="ada", date=date(2026, 6, 10), cpu_hours=100)
    assert night(url) == 0
    [last] = ask(url, "SELECT window_from, window_to FROM rollup.runs ORDER BY run_id DESC LIMIT 1")
    assert last == {"window_from": date(2026, 6, 1), "window_to": TODAY - timedelta(days=1)}
    assert months(url)["2026-05"]
    assert not months(url)["2026-06"]


@pytest.mark.thorough
def test_the_last_closed_month_is_opened_again(url: str) -> None:
    ask(url, "UPDATE usage_daily SET cpu_hours = 50 WHERE date < '2026-06-01'")
    words = ("--reason", "hours were counted twice", "--json")
    done = usage_jobs("reopen", "--month", "2026-05", *words, url=url, today=TODAY, **START)
    assert (done.code, done.object["month"]) == (0, "2026-05")
    assert months(url) == {"2026-05": False, "2026-06": False}
    [row] = ask(url, "SELECT kind, status, reason FROM rollup.runs ORDER BY run_id DESC LIMIT 1")
    assert row == {"kind": "reopen", "status": "done", "reason": "hours were counted twice"}
    assert night(url) == 0
    assert months(url) == {"2026-05": True, "2026-06": False}
    [may] = ask(url, "SELECT total_cost FROM rollup.user_monthly WHERE month = '2026-05-01'")
    assert may["total_cost"] == Decimal(5)
    assert usage_jobs("reconcile", url=url, today=TODAY, **START).code == 0


@pytest.mark.parametrize("month", ["2026-04", "2026-06"])
def test_no_other_month_is_opened(url: str, month: str) -> None:
    refused = usage_jobs("reopen", "--month", month, "--reason", "why not", url=url, today=TODAY, **START)
    assert refused.code == 2
    assert f"--month {month}: expected the last month that a run has closed; the last closed month is 2026-05" in (
        refused.err
    )
    assert months(url) == {"2026-05": True, "2026-06": False}


def test_nothing_is_opened_where_nothing_is_closed(database: str, tmp_path: Any) -> None:
    configured(tmp_path)
    refused = usage_jobs("reopen", "--month", "2026-05", "--reason", "x", url=applied(database), today=TODAY)
    assert (refused.code, "no month is closed" in refused.err) == (2, True)

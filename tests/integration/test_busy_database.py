"""Nights beside clients that never stop: each run ends, no client is hurt, and the figures are right afterwards.

BUSY_NIGHTS sets how many nights, BUSY_USERS how many users; the rates of the clients stay (tests/support/busy_clients).
One of the nights is the one that may close June for the first time, while a few late changes of June still come in.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from busy_clients import BusyClients, Morning
from commands import ask, usage_jobs
from counts import count
from many_users import fill_days, fill_users
from money_checks import wrong_days, wrong_money, wrong_months
from plain_runs import Runs
from run_process import Ended, run_in_process
from ticker import becomes_true

from jobs.domain.billing_periods import last_of, next_month

NIGHTS = count("BUSY_NIGHTS")
USERS = count("BUSY_USERS")
JUNE, END_OF_JUNE = date(2026, 6, 1), date(2026, 6, 30)
CLOSING = date(2026, 7, 3)
"""The first night whose run closes June: its as-of day is 4 July."""
FIRST = CLOSING - timedelta(days=NIGHTS // 2)
STORED = min(FIRST, END_OF_JUNE) - timedelta(days=3)
"""The first day of which there is usage."""
RUNS = Runs(
    {
        "USAGE_JOBS_COST": "rated",  # every row is written, and locked for it
        "USAGE_JOBS_START": f"{STORED:%Y-%m}",
        "USAGE_JOBS_BATCH_ROWS": str(2 * USERS),  # several batches a night
        "USAGE_JOBS_WORKERS": "2",
    }
)


def first_open(url: str) -> date:
    """The first day of the first month that is not closed."""
    [found] = ask(url, "SELECT max(month) AS month FROM rollup.months WHERE closed_at IS NOT NULL")
    closed: date | None = found["month"]
    return STORED.replace(day=1) if closed is None else next_month(closed)


def deadlocks(url: str) -> int:
    [found] = ask(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(found["deadlocks"])


def morning(day: date, first_open: date) -> Morning:
    """Rows move between the open days; in the night that closes June they stay in their month, and June is late."""
    if day == CLOSING:
        return Morning(day, [day, day - timedelta(days=1)], [END_OF_JUNE - timedelta(days=n) for n in range(3)])
    near = [day, day - timedelta(days=1), day - timedelta(days=2)]
    closes_none = day.day < CLOSING.day  # a row that leaves a month while it closes would be told apart by luck
    return Morning(day, [one for one in near if one >= first_open and (closes_none or one.month == day.month)])


def run(address: str, day: date, *, full: bool = False) -> Ended:
    return run_in_process(address, day, RUNS.values, full=full)


def ended_well(report: Ended, day: date, open_before: date, open_after: date) -> None:
    """Exit code 0; or 3, of a run whose only trouble is a month that it had to leave open, and that it names."""
    due = day >= next_month(open_before) + timedelta(days=CLOSING.day - 1)
    if due and open_after == open_before:
        assert report.exit_code == 3, report.notes
        assert any(f"{open_before:%Y-%m} stays open" in note for note in report.notes), report.notes
    else:
        assert report.exit_code == 0, report.notes


def are_closed_whole(url: str, clients: BusyClients) -> list[date]:
    """Invariant 6: who differs from what a month was closed with was changed by a transaction that ended after it.
    Returns the months that are closed."""
    closed = ask(url, "SELECT month, closed_at FROM rollup.months WHERE closed_at IS NOT NULL ORDER BY month")
    later = {
        each["month"]: clients.touched(each["month"], last_of(each["month"]), each["closed_at"]) for each in closed
    }
    for month, users in later.items():
        assert wrong_months(url, month, last_of(month), but=users) == []
    if not any(later.values()):
        watched = usage_jobs("watch", "--all", url=url, today=CLOSING + timedelta(days=NIGHTS), **RUNS.values)
        assert watched.code == 0, watched.out + watched.err
    return list(later)


@pytest.mark.thorough
def test_nights_beside_clients_that_never_stop(
    make_database: Callable[..., str], record_property: Callable[[str, object], None]
) -> None:
    url = make_database()
    RUNS.prepare(url)
    fill_users(url, USERS)
    fill_days(url, USERS, STORED, FIRST - timedelta(days=1))
    nights, codes = [FIRST + timedelta(days=n) for n in range(NIGHTS)], list[int]()
    address = RUNS.address(url)  # before the clients: what a role is granted would have to wait for them
    with BusyClients(url, USERS, NIGHTS, Morning(FIRST - timedelta(days=1), [FIRST - timedelta(days=1)])) as clients:
        for day in nights:
            fill_days(url, USERS, day, day)
            before = first_open(url)
            clients.morning = morning(day, before)
            ended = run(address, day)
            codes.append(ended.exit_code)
            ended_well(ended, day, before, first_open(url))
            assert clients.errors == []
    record_property("transactions", dict(clients.transactions))
    record_property("exit codes", codes)
    record_property("longest", clients.longest)
    took = "SELECT extract(epoch FROM finished_at - started_at)::float AS seconds FROM rollup.runs ORDER BY run_id"
    record_property("seconds of the runs", [row["seconds"] for row in ask(url, took)])
    assert clients.errors == []
    assert min(clients.transactions.values()) >= NIGHTS, "every client was at work"
    record_property("closed beside them", [str(month) for month in are_closed_whole(url, clients)])
    agrees_at_rest(url, nights[-1])
    assert JUNE in are_closed_whole(url, clients)
    # Also a circle of which the job was the victim, and tried again.
    assert deadlocks(url) == 0


def agrees_at_rest(url: str, last: date) -> None:
    """One quiet run, and everything is as a run that computes everybody afresh would have it."""
    address = RUNS.address(url)
    assert run(address, last).exit_code == 0
    assert RUNS.broken(url, last) == []
    since = first_open(url)
    assert since > JUNE, "with nobody at work June closes"
    assert wrong_money(url, since) == {}
    assert wrong_months(url, last.replace(day=1), last) == []
    assert wrong_days(url, since, last) == []
    full = run(address, last, full=True)
    assert (full.rows_changed, full.exit_code) == (0, 0), full.changed


@pytest.mark.direct("about the test's own clients, whatever way the job takes", once=True)
def test_the_clients_do_all_of_it(make_database: Callable[..., str]) -> None:
    """Without a job beside them they come to no harm, and make every kind of change."""
    url = make_database()
    fill_users(url, USERS)
    fill_days(url, USERS, CLOSING - timedelta(days=3), CLOSING)
    began = datetime.now(UTC)
    with BusyClients(url, USERS, 1, morning(CLOSING, JUNE)) as clients:
        assert becomes_true(lambda: clients.transactions["collector"] >= 300 or bool(clients.errors))
    assert clients.errors == []
    assert {"collector", "buyer", "row first", "account first"} == clients.transactions.keys()
    assert clients.touched(CLOSING, CLOSING, began)
    [found] = ask(url, "SELECT count(*) AS n FROM usage_daily")
    assert found["n"] > 4 * USERS, "some rows were inserted"
    assert ask(url, "SELECT id FROM usage_daily WHERE id = md5(user_id || ' ' || date)::uuid LIMIT 1")
    assert ask(url, "SELECT user_id FROM usage_daily GROUP BY user_id HAVING count(*) < 4"), "some rows moved away"
    assert ask(url, "SELECT id FROM credit_transactions WHERE type = 'purchase' LIMIT 1")
    assert deadlocks(url) == 0

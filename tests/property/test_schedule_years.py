"""`schedule` on a real database, through outages and clock jumps: rollup.runs proves that every UTC day was covered.

Time is simulated, runs are real. SCHEDULE_DAYS sets how many days (730 for two years), SCHEDULE_SEED which history.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from commands import applied, ask, explicit, usage_jobs
from counts import count
from fake_clock import FakeClock, simulated
from ways import job_url

from jobs.domain.errors import UnreachableError
from jobs.domain.run_report import Report
from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import RunRequest
from jobs.postgres import server_clock as server
from jobs.postgres.conninfo import Address
from jobs.service import nightly
from jobs.settings import load

DAYS = count("SCHEDULE_DAYS")
SEED = int(os.environ.get("SCHEDULE_SEED", "0"))
BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
"""A few days later January closes."""
END = BEGIN + timedelta(days=DAYS)
ENVIRONMENT = {"USAGE_JOBS_START": "2026-01"}


def test_every_day_is_covered(
    database: str, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    rng, clock, events = random.Random(SEED), BEGIN, Counter[str]()
    applied(database)
    ask(
        database,
        "INSERT INTO usage_daily (user_id, date, cpu_hours)"
        " SELECT 'ada', day, 1 FROM generate_series(date '2026-01-01', %s, '1 day') AS day",
        END.date() + timedelta(days=90),
    )
    while clock < END:
        clock = life(database, monkeypatch, rng, clock, events)
        outage = timedelta(minutes=min(rng.choice([1, 60, 600, 3_000, 100_800]), DAYS * 144))
        events["process away"] += 1
        clock += outage
    last = life(database, monkeypatch, random.Random(0), clock, events, days=2)
    proved(database, (last - timedelta(days=1)).date(), events)
    record_property("events", dict(events))


def life(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    rng: random.Random,
    begin: datetime,
    events: Counter[str],
    *,
    days: int | None = None,
) -> datetime:
    """One process from its start to its end; in the first of ``days`` nothing else happens."""
    length = timedelta(days=days) if days else timedelta(minutes=rng.choice([30, 5_000, 20_000, 60_000]))
    length = min(length, timedelta(days=DAYS + 7))
    jumps = 0.0 if days else rng.choice([0, 0.0002])
    away: list[datetime] = [begin, begin]

    def tick(clock: FakeClock) -> None:
        if rng.random() < jumps:
            clock.time += timedelta(minutes=rng.randrange(-120, 121))
            events["clock jump"] += 1
        if not days and clock.time > away[1] and rng.random() < 0.0003:
            away[:] = [clock.time, clock.time + timedelta(minutes=rng.choice([5, 100, 1000, 5000]))]
            events["database away"] += 1

    def unless_away(job: RunRequest) -> Report:
        if away[0] < clock.time < away[1]:
            events["failed try"] += 1
            raise UnreachableError("the database is away")
        events["run"] += 1
        return run_job(job)

    monkeypatch.setattr(nightly, "run_job", unless_away)
    clock = FakeClock(begin, begin + length, tick)
    monkeypatch.setattr(server, "today", lambda _: clock.time.date())
    settings = explicit(load(None, ENVIRONMENT, Path.cwd()), url, begin.date())
    served = nightly.Daemon(settings, Address(job_url(url, lambda: settings)), clock.now)
    simulated(served.entries(), clock, served.update_health)
    return clock.time


def proved(url: str, until: date, events: Counter[str]) -> None:
    """Every day lies in the window of a run that is done; every month but the last is closed; and no more runs than
    nights, tries aside."""
    runs = ask(url, "SELECT window_from, window_to, status FROM rollup.runs ORDER BY run_id")
    assert {run["status"] for run in runs} == {"done"}
    day = date(2026, 1, 1)
    while day <= until:
        assert any(run["window_from"] <= day <= run["window_to"] for run in runs), day
        day += timedelta(days=1)
    assert len(runs) <= (until - BEGIN.date()).days + events["process away"] + events["clock jump"] + 2
    [booked] = ask(url, "SELECT sum(days) AS days, sum(cpu_hours) AS hours FROM rollup.user_monthly")
    assert booked["days"] == booked["hours"] == (runs[-1]["window_to"] - date(2025, 12, 31)).days
    open_ = ask(url, "SELECT month FROM rollup.months WHERE closed_at IS NULL")
    assert len(open_) <= 2
    assert ask(url, "SELECT month FROM rollup.months WHERE closed_at IS NOT NULL"), "January has closed"
    laws = usage_jobs("reconcile", url=url, today=until + timedelta(days=1), **ENVIRONMENT)
    assert laws.code == 0, laws.out

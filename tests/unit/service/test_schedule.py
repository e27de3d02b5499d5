"""When `usage-jobs schedule` does what: every day is covered, whatever happens to process, database or clock.

EVERY_ZONE=1 looks at ten years of every zone there is.
"""

import os
import random
import signal
import threading
import zoneinfo
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from apscheduler.triggers.cron import CronTrigger
from fake_clock import FakeClock, simulated

from jobs.domain.errors import ConfigError, StoppedError
from jobs.service.scheduler import Entry, Schedule, parse_cron

NIGHTLY = "30 2 * * *"
EVERY_ZONE = "EVERY_ZONE" in os.environ
BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Log:
    """A run log in memory: each run covers all days up to the day before its clock's."""

    clock: FakeClock | None = None
    until: date | None = None
    runs: list[tuple[datetime, date]] = field(default_factory=list)
    asked: int = 0
    code: Callable[[datetime], int] = lambda _: 0

    def run(self) -> int:
        assert self.clock is not None
        code = self.code(self.clock.now())
        if code == 0:
            day = self.clock.now().date() - timedelta(days=1)
            self.until = day if self.until is None else max(day, self.until)
            self.runs.append((self.clock.now(), day))
        return code

    def covered(self) -> date | None:
        self.asked += 1
        return self.until


def lived(log: Log, clock: FakeClock, cron: str = NIGHTLY) -> None:
    """A process that lives until the clock's time is over."""
    log.clock = clock
    simulated([Entry("nightly", cron, log.run, log.covered)], clock)


def test_it_runs_once_a_night() -> None:
    log = Log(until=date(2025, 12, 31))
    lived(log, FakeClock(BEGIN, BEGIN + timedelta(days=10)))
    assert [at.isoformat()[:16] for at, _ in log.runs] == [f"2026-01-{day:02}T02:30" for day in range(2, 12)]
    assert log.asked <= 11, "memory knows what the log says"


@pytest.mark.parametrize(("until", "at_once"), [(None, 1), (date(2025, 12, 30), 1), (date(2025, 12, 31), 0)])
def test_what_the_log_lacks_is_done_as_it_starts(until: date | None, at_once: int) -> None:
    log = Log(until=until)
    lived(log, FakeClock(BEGIN, BEGIN + timedelta(hours=3)))
    assert len(log.runs) == at_once


def test_a_failed_night_is_tried_again_with_growing_pauses_until_it_is_done() -> None:
    """The database is away from midnight to six."""
    tried: list[datetime] = []

    def code(now: datetime) -> int:
        tried.append(now)
        return 5 if now.hour < 6 else 0

    log = Log(until=date(2025, 12, 31), code=code)
    lived(log, FakeClock(BEGIN, BEGIN + timedelta(days=1)))
    pauses = [(after - before).total_seconds() / 60 for before, after in pairwise(tried)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert [at.hour for at, _ in log.runs] == [6]


def test_wrong_configuration_is_not_tried_again_before_the_next_night() -> None:
    tried: list[datetime] = []

    def code(now: datetime) -> int:
        tried.append(now)
        return 2

    log = Log(until=date(2025, 12, 31), code=code)
    lived(log, FakeClock(BEGIN, BEGIN + timedelta(days=3)))
    assert [now.isoformat()[:16] for now in tried] == [f"2026-01-{day:02}T02:30" for day in (2, 3, 4)]


def test_the_clock_is_set_back_over_a_run_and_forward_over_one() -> None:
    moves = {datetime(2026, 1, 2, 3, tzinfo=UTC): -2, datetime(2026, 1, 4, 2, tzinfo=UTC): 2}

    def tick(clock: FakeClock) -> None:
        if (hours := moves.pop(clock.time.replace(second=0, microsecond=0), None)) is not None:
            clock.time += timedelta(hours=hours)

    log = Log(until=date(2025, 12, 31))
    lived(log, FakeClock(BEGIN, BEGIN + timedelta(days=4), tick))
    assert moves == {}
    assert [day for _, day in log.runs] == [date(2026, 1, day) for day in (1, 2, 3, 4)]


@pytest.mark.parametrize(("code", "first"), [(0, "2026-01-02T02:30"), (5, "2026-01-01T12:02")])
def test_a_clock_that_was_ten_years_ahead_stops_nobody(code: int, first: str) -> None:
    """Neither a night, which the run log lacks or which failed, nor an entry without a run log."""
    ahead = BEGIN + timedelta(days=3650)

    def tick(clock: FakeClock) -> None:
        if clock.time == ahead + timedelta(minutes=2):
            clock.time, clock.until = BEGIN, BEGIN + timedelta(days=3)

    clock, nights, weekly = FakeClock(ahead, datetime.max.replace(tzinfo=UTC), tick), list[str](), list[str]()

    def run() -> int:
        nights.append(clock.time.isoformat()[:16])
        return code if clock.time >= ahead else 0

    def reconcile() -> int:
        weekly.append(clock.time.isoformat()[:16])
        return 0

    nightly = Entry("nightly", NIGHTLY, run, lambda: date(2025, 12, 31))
    simulated([nightly, Entry("reconcile", "0 5 * * sun", reconcile)], clock)
    assert next(night for night in nights if night.startswith("2026")) == first
    assert weekly == ["2026-01-04T05:00"]


def test_a_jump_of_fifty_years_is_one_run_a_minute_at_most() -> None:
    """Each missed minute would be 26 million times in memory."""
    jumps = [timedelta(days=18_262)]

    def tick(clock: FakeClock) -> None:
        clock.time += jumps.pop() if jumps else timedelta()

    log = Log(until=date(2025, 12, 31))
    lived(log, FakeClock(BEGIN, BEGIN + timedelta(days=18_262, minutes=5), tick), "* * * * *")
    assert len(log.runs) <= 6


def test_a_time_that_comes_while_it_is_at_work_is_skipped_and_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """The day is covered afterwards."""
    log = Log(until=date(2025, 12, 31))
    clock = FakeClock(BEGIN, datetime(2026, 1, 3, 2, 40, tzinfo=UTC))

    def run() -> int:
        """The first night takes a day."""
        code = log.run()
        if not log.runs[1:]:
            clock.time += timedelta(days=1)
            nightly.scheduler.wakeup()
        return code

    nightly, log.clock = Entry("nightly", NIGHTLY, run, log.covered), clock
    simulated([nightly], clock)
    assert "skipped: the one before has not ended" in "".join(capsys.readouterr())
    assert [day for _, day in log.runs] == [date(2026, 1, 1), date(2026, 1, 2)]


def test_a_signal_ends_a_job_and_the_schedule() -> None:
    """In real time: APScheduler, which logs exceptions of jobs and goes on, does not get it."""
    threads = []

    def work() -> int:
        threads.append(threading.current_thread())
        raise StoppedError(signal.SIGTERM)

    with pytest.raises(StoppedError):
        Schedule([Entry("nightly", NIGHTLY, work, lambda: None)], lambda: datetime.now(UTC)).serve()
    assert threads == [threading.main_thread()]


@pytest.mark.parametrize("seed", [2])
def test_a_quarter_with_outages_and_clock_jumps_leaves_no_day_out(seed: int) -> None:
    """Of each fire a run, or of several that were missed one; never two for one fire, clock jumps aside."""
    rng, end = random.Random(seed), BEGIN + timedelta(days=91)
    log, clock = Log(until=date(2025, 12, 31)), BEGIN
    while clock < end:
        alive = min(end, clock + timedelta(minutes=rng.choice([30, 1000, 20_000, 100_000])))
        jumps = rng.choice([0, 0, 0.0002])

        def tick(clock: FakeClock, jumps: float = jumps) -> None:
            if rng.random() < jumps:
                clock.time += timedelta(minutes=rng.randrange(-120, 121))

        life = FakeClock(clock, alive, tick)
        lived(log, life)
        clock = life.time + timedelta(minutes=rng.choice([1, 1, 60, 1440, 100_800]))
    lived(log, FakeClock(clock, clock + timedelta(days=2)))
    assert log.until == (clock + timedelta(days=2)).date() - timedelta(days=1) or log.until == clock.date()
    ordered = [day for _, day in log.runs]
    assert len(log.runs) <= 96
    assert max(after - before for before, after in pairwise(ordered)) <= timedelta(days=72)


# The trigger


def test_in_utc_four_years_have_a_fire_a_day() -> None:
    for cron in ("0 0 * * *", "30 2 * * *", "59 23 * * *"):
        assert days_left_out("UTC", cron, years=4) == 0


def test_other_zones_skip_or_repeat_which_is_why_there_is_no_setting(
    record_property: Callable[[str, object], None],
) -> None:
    """Pins what APScheduler does: if this fails, zones may be worth a thought."""
    zones = sorted(zoneinfo.available_timezones()) if EVERY_ZONE else ["UTC", "Europe/Berlin", "US/Pacific"]
    years = 10 if EVERY_ZONE else 1
    wrong = {zone for zone in zones for hour in ("0 0", "30 3") if days_left_out(zone, f"{hour} * * *", years)}
    record_property("zones with days left out or doubled, or where it stands still", f"{len(wrong)} of {len(zones)}")
    assert "UTC" not in wrong
    assert "US/Pacific" in wrong


def days_left_out(zone: str, cron: str, years: int) -> int:
    """How many days have another number of fires than one; all of them where the trigger stands still for ever."""
    made, here = CronTrigger.from_crontab(cron, timezone=zone), zoneinfo.ZoneInfo(zone)
    fire, last = made.get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=here)), date(2026 + years, 1, 1)
    days: Counter[date] = Counter()
    whole = (last - date(2026, 1, 1)).days
    while fire.date() < last:
        days[fire.date()] += 1
        before, fire = fire, made.get_next_fire_time(fire, fire + timedelta(seconds=1))
        if fire.timestamp() <= before.timestamp():  # where an hour comes twice, the second time
            return whole
    return whole - len(days) + sum(count > 1 for count in days.values())


@pytest.mark.parametrize(
    "cron", ["", "2:30", "30 2 * *", "61 2 * * *", "@daily", "0 5 * * 0", "0 5 * * 7", "0 5 * * 1-5"]
)
def test_what_is_no_cron_expression_is_refused(cron: str) -> None:
    with pytest.raises(ConfigError, match=r"expected (a cron expression|days of the week by name)"):
        parse_cron(cron)


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "30 2 31 4,6,9,11 *"])
def test_a_day_that_never_comes_is_refused(cron: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a day that exists; found one that no month has"):
        parse_cron(cron)


@pytest.mark.parametrize("cron", ["0 5 1 * mon", "0 5 */2 * sun", "0 5 1-7 6 mon-fri"])
def test_a_day_of_the_month_beside_a_weekday_is_refused(cron: str) -> None:
    """cron fires on either, the library on what is both."""
    with pytest.raises(ConfigError, match=r"expected a day of the month or days of the week; found both"):
        parse_cron(cron)


@pytest.mark.parametrize(
    ("cron", "now", "fire"),
    [
        (NIGHTLY, "2026-03-01T02:30", "2026-03-01T02:30"),
        (NIGHTLY, "2026-03-01T02:29", "2026-02-28T02:30"),
        ("0 5 * * sun", "2026-03-07T12:00", "2026-03-01T05:00"),
        ("0 0 1 * *", "2026-03-31T12:00", "2026-03-01T00:00"),
        ("0 0 1 1 *", "2026-12-31T12:00", "2026-01-01T00:00"),
        ("0 0 31 * *", "2026-03-01T12:00", "2026-01-31T00:00"),
    ],
)
def test_the_day_before_the_last_fire_is_covered(cron: str, now: str, fire: str) -> None:
    """A process that starts at ``now`` runs at once if the run log lacks the day before ``fire``, and only then."""
    begin = datetime.fromisoformat(now).replace(tzinfo=UTC)
    before = datetime.fromisoformat(fire).date() - timedelta(days=1)
    for until, at_once in ((before, 0), (before - timedelta(days=1), 1)):
        log = Log(until=until)
        lived(log, FakeClock(begin + timedelta(seconds=1), begin + timedelta(seconds=30)), cron)
        assert len(log.runs) == at_once

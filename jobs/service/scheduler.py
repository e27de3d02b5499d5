"""The scheduler of `usage-jobs schedule`: runs each entry when it is due.

Two things decide when an entry is due: its cron expression (APScheduler's, always UTC), and the run log in the
database, which has the last covered day. So after an outage of this process, of the database or of the clock, missing
days are covered at once, and only once. Entries run one after the other in the main thread, which receives signals.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from apscheduler.triggers.cron import CronTrigger

from jobs.domain.errors import ConfigError

MAX_SLEEP = timedelta(minutes=1)
"""The longest sleep: a clock that was set forward is noticed within this time."""
MIN_RETRY, MAX_RETRY = timedelta(minutes=1), timedelta(hours=1)
"""The first and the longest pause before a failed entry is tried again; pauses double."""
FIELDS = 5
LEAP_YEAR = datetime(2000, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
LOOKBACKS = (timedelta(days=2), timedelta(days=8), timedelta(days=32), timedelta(days=370))
FINISHED = (0, 3, 6)
"""Exit codes of a command that has finished: it is not tried again."""
SUCCESSFUL = (0, 3)
"""Exit codes of a success. Code 6 (a broken invariant or a changed closed month) is not one: a person has to act."""


class Clock(Protocol):
    """The current time, and waiting; tests replace it."""

    def now(self) -> datetime: ...

    def wait(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A cron expression and the job that it starts.

    ``work``: does the job and returns an exit code. ``covered``: returns the last covered day from the run log; None
    for a job that covers no days.
    """

    name: str
    cron: str
    work: Callable[[], int]
    covered: Callable[[], date | None] | None = None


@dataclass(slots=True)
class ScheduleState:
    """An entry and its history.

    - ``handled``: fire times up to this one are done
    - ``failed``: how many attempts have failed since the last one that finished
    - ``retry``: when to try again; None: at the next fire time
    - ``code``: the last exit code
    - ``succeeded``: the time of the last success
    - ``until``: the last day that is known to be covered, to save a query of the run log
    """

    entry: Entry
    trigger: CronTrigger
    handled: datetime
    failed: int = 0
    retry: datetime | None = None
    code: int | None = None
    succeeded: datetime | None = None
    until: date | None = None
    _between: tuple[datetime, datetime] | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether a fire time has passed, a failed attempt has to be repeated, or the run log lacks a day."""
        if self.retry is not None:
            return now >= self.retry
        fire = self._last_fire(now)
        return fire is not None and (fire > self.handled or self._lacks_day(fire))

    def _last_fire(self, now: datetime) -> datetime | None:
        """The result of ``last_fire``, cached until the next fire time."""
        if self._between is not None and self._between[0] <= now < self._between[1]:
            return self._between[0]
        fire, following = last_fire(self.trigger, now), self.trigger.get_next_fire_time(None, now + MOMENT)
        self._between = None if fire is None else (fire, following)
        return fire

    def _lacks_day(self, fire: datetime) -> bool:
        """Whether the run log lacks the day before ``fire``; queries the log only if ``until`` does not include it."""
        day = fire.date() - timedelta(days=1)
        if self.entry.covered is None or (self.until is not None and day <= self.until):
            return False
        self.until = self.entry.covered()
        return self.until is None or day > self.until

    def run(self, clock: Clock) -> None:
        """Does the work, and schedules another attempt if it failed."""
        began = clock.now()
        self.code = self.entry.work()
        now = clock.now()
        self.handled = max(self.handled, began)
        if self.code in FINISHED:
            self.failed, self.retry, self.until = 0, None, None
            self.succeeded = now if self.code in SUCCESSFUL else self.succeeded
            return
        self.failed += 1
        # A configuration error stays until a person corrects it: try again only at the next fire time.
        pause = min(MAX_RETRY, MIN_RETRY * 2 ** min(self.failed - 1, 10))
        self.retry = None if self.code == ConfigError.exit_code else now + pause
        fire = self._last_fire(now)
        self.until = fire.date() if fire is not None and self.code == ConfigError.exit_code else None

    def next_time(self, now: datetime) -> datetime:
        """When this entry is due next: the next fire time, or an earlier retry."""
        self._last_fire(now)
        if self._between is None:
            fire: datetime = self.trigger.get_next_fire_time(None, now + MOMENT)
        else:
            fire = self._between[1]
        return min(fire, self.retry) if self.retry is not None else fire


def parse_cron(cron: str) -> CronTrigger:
    """The trigger of a cron expression of five fields, in UTC: other time zones skip or repeat hours.

    Raises ConfigError for an invalid expression, and for one that cron and APScheduler understand differently.
    """
    fields = cron.split()
    if len(fields) == FIELDS:
        _, _, day, _, weekday = fields
        if re.search(r"\d", weekday):
            # Day 0 is Sunday for cron, but Monday for the library: the job would run on another day.
            raise ConfigError(f"schedule: {cron!r}: expected days of the week by name, such as sun or mon-fri")
        if day != "*" and weekday != "*":
            # cron fires on days that match either field, the library on days that match both.
            raise ConfigError(
                f"schedule: {cron!r}: expected a day of the month or days of the week; found both. Make one of them *"
            )
    try:
        made = CronTrigger.from_crontab(cron, timezone=UTC)
    except ValueError as error:
        raise ConfigError(
            f"schedule: {cron!r}: expected a cron expression such as '30 2 * * *' (UTC): {error}"
        ) from None
    if made.get_next_fire_time(None, LEAP_YEAR) is None:
        raise ConfigError(
            f"schedule: {cron!r}: expected a day that exists; found one that no month has. Correct the day"
        )
    return made


def last_fire(cron: CronTrigger, now: datetime) -> datetime | None:
    """The latest fire time of ``cron`` at or before ``now``; None if there is none within a year."""
    for back in LOOKBACKS:
        found: datetime | None = None
        fire = cron.get_next_fire_time(None, now - back)
        while fire is not None and fire <= now:
            found, fire = fire, cron.get_next_fire_time(fire, fire + timedelta(seconds=1))
        if found is not None:
            return found
    return None


def initial_states(entries: Sequence[Entry], clock: Clock) -> list[ScheduleState]:
    """The state of each entry at the start: an entry is due only if the run log lacks a day."""
    return [ScheduleState(entry, parse_cron(entry.cron), clock.now()) for entry in entries]


def serve(
    states: Sequence[ScheduleState],
    clock: Clock,
    *,
    on_change: Callable[[Sequence[ScheduleState]], None] = lambda _: None,
) -> None:
    """Runs entries when they are due, forever; calls ``on_change`` at the start and after each entry."""
    on_change(states)
    while True:
        for state in states:
            if state.is_due(clock.now()):
                state.run(clock)
                on_change(states)
        now = clock.now()
        soonest = min(state.next_time(now) for state in states)
        clock.wait(min(MAX_SLEEP, max(soonest - now, timedelta(seconds=0.01))).total_seconds())

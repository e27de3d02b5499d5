"""`usage-jobs schedule`: stays up and does what is due; it calculates nothing itself.

What is due is told by two things. The cron expressions (APScheduler's, always UTC) say when; and the run log in the
database says how far runs have come, so that after any outage, of this process, of the database or of the clock, what
is missing is done at once, and once. Everything happens one after the other, in the main thread, where signals arrive.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from apscheduler.triggers.cron import CronTrigger

from jobs.domain.errors import ConfigError

LOOK = timedelta(minutes=1)
"""At most so long it sleeps: a clock that was set forward is noticed within this time."""
SOONEST, LATEST = timedelta(minutes=1), timedelta(hours=1)
"""Pauses between two tries of what failed; they double."""
FIELDS = 5
LEAP_YEAR = datetime(2000, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
BACK = (timedelta(days=2), timedelta(days=8), timedelta(days=32), timedelta(days=370))
DONE = (0, 3, 6)
"""Exit codes with which a command has done its work: it is not tried again."""
GOOD = (0, 3)
"""Those with which all is well. A broken invariant or a changed month (6) is for a person, and no success."""


class Clock(Protocol):
    """The one look at time, and the one way to let it pass."""

    def now(self) -> datetime: ...

    def wait(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A cron expression and what it starts; ``work`` returns an exit code; ``covered``: the last day that is done by
    the log, for work that the log can tell of."""

    name: str
    cron: str
    work: Callable[[], int]
    covered: Callable[[], date | None] | None = None


@dataclass(slots=True)
class Due:
    """An entry with what has become of it: fires up to ``handled`` are seen to; ``failed`` tries since the last good
    one; the next not before ``retry``."""

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
        """Whether a fire came since the last one handled, a try has to be repeated, or the log lacks a day."""
        if self.retry is not None:
            return now >= self.retry
        fire = self._fire(now)
        return fire is not None and (fire > self.handled or self._lacks(fire))

    def _fire(self, now: datetime) -> datetime | None:
        """``last_fire``, looked up once between two fires."""
        if self._between is not None and self._between[0] <= now < self._between[1]:
            return self._between[0]
        fire, following = last_fire(self.trigger, now), self.trigger.get_next_fire_time(None, now + MOMENT)
        self._between = None if fire is None else (fire, following)
        return fire

    def _lacks(self, fire: datetime) -> bool:
        """Whether the day that ``fire`` was for is not in the log; asked only where memory does not know it is."""
        day = fire.date() - timedelta(days=1)
        if self.entry.covered is None or (self.until is not None and day <= self.until):
            return False
        self.until = self.entry.covered()
        return self.until is None or day > self.until

    def do(self, clock: Clock) -> None:
        """Does the work, and decides when to try again where it failed."""
        began = clock.now()
        self.code = self.entry.work()
        now = clock.now()
        self.handled = max(self.handled, began)
        if self.code in DONE:
            self.failed, self.retry, self.until = 0, None, None
            self.succeeded = now if self.code in GOOD else self.succeeded
            return
        self.failed += 1
        # Configuration does not mend itself: the next fire tries again.
        pause = min(LATEST, SOONEST * 2 ** min(self.failed - 1, 10))
        self.retry = None if self.code == ConfigError.exit_code else now + pause
        fire = self._fire(now)
        self.until = fire.date() if fire is not None and self.code == ConfigError.exit_code else None

    def next_time(self, now: datetime) -> datetime:
        """When this is due next, as far as is known."""
        self._fire(now)
        if self._between is None:
            fire: datetime = self.trigger.get_next_fire_time(None, now + MOMENT)
        else:
            fire = self._between[1]
        return min(fire, self.retry) if self.retry is not None else fire


def trigger(cron: str) -> CronTrigger:
    """A cron expression of five fields, in UTC: any other zone skips or repeats hours. Raises ConfigError."""
    fields = cron.split()
    if len(fields) == FIELDS:
        _, _, day, _, weekday = fields
        if re.search(r"\d", weekday):
            # cron's Sunday is 0 or 7, the library's Monday: a week's work would be done on another day.
            raise ConfigError(f"schedule: {cron!r}: expected days of the week by name, such as sun or mon-fri")
        if day != "*" and weekday != "*":
            # cron fires on a day that is either, the library on one that is both.
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
            f"schedule: {cron!r}: expected a day that comes; found one that no month has. Correct the day"
        )
    return made


def last_fire(cron: CronTrigger, now: datetime) -> datetime | None:
    """The latest time at or before ``now`` for which ``cron`` stands; None where there is none within a year."""
    for back in BACK:
        found: datetime | None = None
        fire = cron.get_next_fire_time(None, now - back)
        while fire is not None and fire <= now:
            found, fire = fire, cron.get_next_fire_time(fire, fire + timedelta(seconds=1))
        if found is not None:
            return found
    return None


def entries(found: Sequence[Entry], clock: Clock) -> list[Due]:
    """The entries, of which nothing is due but what the log lacks."""
    return [Due(entry, trigger(entry.cron), clock.now()) for entry in found]


def serve(dues: Sequence[Due], clock: Clock, *, on: Callable[[Sequence[Due]], None] = lambda _: None) -> None:
    """Does what is due, for ever; ``on`` hears of every change."""
    on(dues)
    while True:
        for due in dues:
            if due.is_due(clock.now()):
                due.do(clock)
                on(dues)
        now = clock.now()
        soonest = min(due.next_time(now) for due in dues)
        clock.wait(min(LOOK, max(soonest - now, timedelta(seconds=0.01))).total_seconds())

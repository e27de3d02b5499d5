"""The schedule of `usage-jobs schedule`: APScheduler says what is due, the run log says what is missing.

APScheduler does cron expressions (always UTC), waiting, one run for several missed times, and no second run beside the
first. It works in a thread of its own and hands due jobs over to the main thread, which runs them one after the other:
a signal is an exception in the main thread, and APScheduler would log that exception and go on.

APScheduler keeps its jobs in memory. What an earlier process has covered is in the run log, so that after an outage of
the process, of the database or of the clock missing days are covered at once, and only once.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from queue import Empty, SimpleQueue

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from jobs.domain.errors import ConfigError
from jobs.service import log

HEARTBEAT = 60
"""Seconds: a clock that was set, and a day that the run log lacks, are noticed within this time."""
MIN_RETRY, MAX_RETRY = timedelta(minutes=1), timedelta(hours=1)
"""The first and the longest pause before a failed entry is tried again; pauses double."""
JOB_OPTIONS = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
"""One run for several missed times, never two at once, and no time is too late."""
FIELDS = 5
LEAP_YEAR = datetime(2000, 1, 1, tzinfo=UTC)
DAY, MOMENT = timedelta(days=1), timedelta(microseconds=1)
FINISHED = (0, 3, 6)
"""Exit codes of a command that has finished: it is not tried again."""
SUCCESSFUL = (0, 3)
"""Exit codes of a success. Code 6 (a broken invariant or a changed closed month) is not one: a person has to act."""


@dataclass(slots=True)
class Entry:
    """A cron expression, the work that it starts, and how the attempts of this process have ended.

    - ``work``: does the work and returns an exit code
    - ``last_covered``: returns the last covered day from the run log; None for work that covers no days
    - ``failed``: how many attempts have failed since the last one that finished
    - ``code``: the last exit code
    - ``succeeded``: the time of the last success
    - ``missing``: the first time of cron that the run log lacks, to save queries; None: ask the run log
    """

    name: str
    cron: str
    work: Callable[[], int]
    last_covered: Callable[[], date | None] | None = None
    failed: int = 0
    code: int | None = None
    succeeded: datetime | None = None
    missing: datetime | None = None
    scheduler: BackgroundScheduler = field(init=False)

    @property
    def job(self) -> Job:
        """The job of APScheduler, which has the next time."""
        return self.scheduler.get_job(self.name)

    def run(self, clock: Callable[[], datetime]) -> None:
        """Does the work, and plans another attempt if it failed."""
        self.code = self.work()
        now = clock()
        if self.code in FINISHED:
            self.failed, self.missing = 0, None
            self.succeeded = now if self.code in SUCCESSFUL else self.succeeded
        else:
            self.failed += 1
            self.advance(now)

    def advance(self, now: datetime) -> None:
        """Moves the next time of the job forward if it is needed sooner."""
        job = self.job
        planned = job.next_run_time
        # A time that has passed becomes now: after a jump of years, APScheduler would list each missed time.
        needed = now if planned <= now else min(planned, self._needed(job.trigger, now))
        if needed != planned:
            job.modify(next_run_time=needed)

    def _needed(self, cron: CronTrigger, now: datetime) -> datetime:
        """When the work is needed again. Where the clock was set back, that is earlier than planned."""
        if self.failed and self.code != ConfigError.exit_code:
            pause: timedelta = min(MAX_RETRY, MIN_RETRY * 2 ** min(self.failed - 1, 10))
            return now + pause
        if self.failed or self.last_covered is None:
            # A configuration error stays until a person corrects it: try again only at the next time of cron.
            following: datetime = cron.get_next_fire_time(None, now + MOMENT)
            return following
        if self.missing is None or self.missing <= now:
            day = self.last_covered()
            if day is None:
                return now
            # A run covers the days before its own: a run two days later is the first that covers another day.
            self.missing = cron.get_next_fire_time(None, datetime.combine(day, time(), UTC) + 2 * DAY)
        return max(now, self.missing)


class MainThread(BaseExecutor):  # type: ignore[misc]  # APScheduler has no types
    """An executor of APScheduler that leaves the jobs to the thread that calls ``run_next``."""

    def __init__(self) -> None:
        super().__init__()
        self._due: SimpleQueue[Job] = SimpleQueue()

    def _do_submit_job(self, job: Job, _run_times: Sequence[datetime]) -> None:
        self._due.put(job)

    def run_next(self, seconds: float) -> bool:
        """Runs the job that is due, or the first that becomes due within ``seconds``; False: there was none."""
        try:
            job = self._due.get(timeout=seconds)
        except Empty:
            return False
        job.func(*job.args)
        self._run_job_success(job.id, [])
        return True


class Schedule:
    """The entries and the APScheduler that starts them. Raises ConfigError for a cron expression that is none."""

    def __init__(self, entries: Sequence[Entry], clock: Callable[[], datetime]) -> None:
        self.entries, self._clock, self._main = entries, clock, MainThread()
        self._scheduler = BackgroundScheduler(timezone=UTC, executors={"default": self._main}, job_defaults=JOB_OPTIONS)
        self._scheduler.add_listener(_log_skipped, EVENT_JOB_MAX_INSTANCES)
        for entry in entries:
            entry.scheduler, cron = self._scheduler, parse_cron(entry.cron)
            first = cron.get_next_fire_time(None, clock())
            self._scheduler.add_job(entry.run, cron, [clock], id=entry.name, next_run_time=first)

    def serve(self, on_change: Callable[[Sequence[Entry]], None] = lambda _: None) -> None:
        """Runs entries when they are due, forever; calls ``on_change`` at each heartbeat and after each entry."""
        self._scheduler.start()
        try:
            while True:
                on_change(self.entries)
                for entry in self.entries:
                    entry.advance(self._clock())
                self._scheduler.wakeup()
                while self._main.run_next(HEARTBEAT):
                    on_change(self.entries)
        finally:
            self._scheduler.shutdown(wait=False)


def _log_skipped(event: JobSubmissionEvent) -> None:
    log.event("skipped: the one before has not ended", level="warning", kind=event.job_id)


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

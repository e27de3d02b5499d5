"""Time that passes only when somebody waits, and jumps when a test says so."""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from queue import Empty
from types import SimpleNamespace
from typing import Any

import pytest
from apscheduler.job import Job
from apscheduler.schedulers.base import BaseScheduler

from jobs.service import scheduler
from jobs.service.scheduler import Entry, Schedule


class OverError(BaseException):
    """The simulated time is over; nothing on the way takes it for a failure."""


class FakeClock:
    """``until``: when the simulation ends; ``tick`` may set ``time`` to something else after each wait."""

    def __init__(self, now: datetime, until: datetime, tick: Callable[["FakeClock"], None] = lambda _: None) -> None:
        self.time, self.until, self.tick = now, until, tick

    def now(self, _zone: object = None) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        assert 0 < seconds <= 60
        self.time += timedelta(seconds=seconds)
        self.tick(self)
        if self.time >= self.until:
            raise OverError


class FakeQueue(deque[Job]):
    """The queue of due jobs; who waits at it lets time pass."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock, self.put = clock, self.append

    def get(self, timeout: float) -> Job:
        if not self:
            self.clock.wait(timeout)
            raise Empty
        return self.popleft()


class FakeScheduler(BaseScheduler):  # type: ignore[misc]  # APScheduler has no types
    """APScheduler without its thread: whoever wakes it lets it work."""

    def wakeup(self) -> None:
        self._process_jobs()

    def shutdown(self, wait: bool = True) -> None:
        super().shutdown(wait)


def simulated(entries: Sequence[Entry], clock: FakeClock, on_change: Callable[..., Any] = lambda _: None) -> None:
    """Serves the entries until the clock's time is over."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "BackgroundScheduler", FakeScheduler)
        patch.setattr(scheduler, "SimpleQueue", lambda: FakeQueue(clock))
        patch.setattr("apscheduler.schedulers.base.datetime", SimpleNamespace(now=clock.now))
        with pytest.raises(OverError):
            Schedule(entries, clock.now).serve(on_change)

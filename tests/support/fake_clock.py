"""Time that passes only when somebody waits, and jumps when a test says so."""

from collections.abc import Callable
from datetime import datetime, timedelta


class OverError(BaseException):
    """The simulated time is over; nothing on the way takes it for a failure."""


class FakeClock:
    """``until``: when the simulation ends; ``tick`` may set ``now`` to something else after each wait."""

    def __init__(self, now: datetime, until: datetime, tick: Callable[["FakeClock"], None] = lambda _: None) -> None:
        self.time, self.until, self.tick = now, until, tick

    def now(self) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        assert 0 < seconds <= 60
        self.time += timedelta(seconds=seconds)
        self.tick(self)
        if self.time >= self.until:
            raise OverError

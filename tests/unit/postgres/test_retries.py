"""What passes is tried again, a few times and not for ever; what does not pass is not."""

import time

import psycopg
import pytest
from psycopg import errors

from jobs.domain.errors import PreflightError, UnreachableError
from jobs.postgres.errors import retry


class Failing:
    """Work that fails so, until it has failed often enough."""

    def __init__(self, error: Exception, times: int = 100) -> None:
        self.error, self.times, self.tries = error, times, 0

    def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self.times:
            raise self.error
        return "done"


@pytest.mark.parametrize(
    "error",
    [
        errors.SerializationFailure(),
        errors.DeadlockDetected(),
        errors.LockNotAvailable(),
        errors.AdminShutdown(),
        errors.TooManyConnections(),
        errors.QueryCanceled(),
        errors.IdleSessionTimeout(),
        errors.OperatorIntervention(),
        errors.ProtocolViolation(),
        psycopg.OperationalError("the connection broke"),
        psycopg.InternalError("received 2 results from command 'COMMIT'"),
        UnreachableError("no server in time"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_is_tried_again(error: Exception) -> None:
    pauses: list[float] = []
    assert retry(Failing(error, times=3), pause=pauses.append) == "done"
    assert len(pauses) == 3
    assert 0.2 <= pauses[0] <= 0.4
    assert 0.8 <= pauses[2] <= 1.6


@pytest.mark.parametrize(
    "error", [errors.UniqueViolation(), errors.DiskFull(), PreflightError("wrong"), psycopg.ProgrammingError()]
)
def test_what_does_not_pass_is_not(error: Exception) -> None:
    work = Failing(error)
    with pytest.raises(type(error)):
        retry(work, pause=lambda _: pytest.fail("it rests before another try"))
    assert work.tries == 1


def test_it_gives_up_after_some_tries() -> None:
    work = Failing(errors.DeadlockDetected())
    with pytest.raises(errors.DeadlockDetected):
        retry(work, pause=lambda _: None)
    assert work.tries == 5


def test_it_gives_up_after_two_minutes_whatever_is_left_of_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try takes 50 s: the first failure is at 50, the third at 150, the fourth would begin too late."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    work = Failing(errors.LockNotAvailable())

    def slow() -> str:
        now[0] += 50
        return work()

    with pytest.raises(errors.LockNotAvailable):
        retry(slow, pause=lambda _: None)
    assert work.tries == 4

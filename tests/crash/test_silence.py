"""A network that swallows every packet, and clients that fall silent in the midst of a transaction: who still works
notices, gives up what is dead, has the server end what is left of it, and goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import night as world
import psycopg
import pytest
from commands import ask
from killing import differing, states, tables
from night import Night
from ways import job_url
from wire import Statement, Then, Verdict, Wire

from jobs.postgres import run_lock

pytestmark = pytest.mark.direct("has wires of its own", once=True)
PATIENCE = 60
LOCKED = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "PING_SECONDS", 0.05)
    monkeypatch.setattr(run_lock, "ANSWER_SECONDS", 0.3)


@contextmanager
def patience(wire: Wire) -> Iterator[None]:
    """Who would wait for ever is let go, and told of."""
    expired = threading.Event()

    def let_go() -> None:
        expired.set()
        wire.hang_up()

    timer = threading.Timer(PATIENCE, let_go)
    timer.start()
    yield
    timer.cancel()
    assert not expired.is_set(), f"it still waited after {PATIENCE} s"


def swallowed(target: Statement, url: str, *, answered: bool = False) -> None:
    """The night's run, which goes on although everything that was open at a statement is dead from then on.

    ``answered``: the server has carried it out.
    """
    struck: list[Statement] = []

    def strike() -> None:
        wire.swallow()
        wire.heal()

    def hook(statement: Statement) -> Verdict | Then:
        if struck or (statement.connection, statement.ordinal) != (target.connection, target.ordinal):
            return Verdict.PASS
        struck.append(statement)
        if answered:
            return Then(strike)
        strike()
        return Verdict.PASS

    with Wire(job_url(url, world.settings), hook) as wire, patience(wire):
        world.run(wire.url)
    assert struck


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(2))
def test_a_hole_in_the_network(part: int, night: Night, copy: Callable[[], str]) -> None:
    under_lock = [s for s in night.statements if s.connection == 0 and not s.text.startswith("SET LOCAL")]
    first = next(n for n, s in enumerate(under_lock) if "rates_hash" in s.text and "INSERT" in s.text)
    for target in under_lock[first::60][part::2]:
        url = copy()
        swallowed(target, url)
        assert differing(tables(url), night.after) == [], target
        assert states(url)[-1] == "done"
        assert "running" not in states(url)


@pytest.mark.thorough
@pytest.mark.parametrize("answered", [False, True])
def test_a_hole_while_the_run_lock_is_taken(
    answered: bool, night: Night, copy: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered, it holds the lock, and we do not know: the next try must not take ourselves for another run."""
    monkeypatch.setattr("jobs.postgres.connections.ADMISSION_SECONDS", 0.5)
    locking, *_ = [s for s in night.statements if "pg_try_advisory_xact_lock" in s.text]
    url = copy()
    swallowed(locking, url, answered=answered)
    assert differing(tables(url), night.after) == []
    assert states(url)[-1] == "done"


def test_a_run_lock_that_is_lost_is_taken_again(night: Night, copy: Callable[[], str]) -> None:
    url = copy()
    target = night.batches()[0][0]
    run_locks: list[list[object]] = []

    def hook(statement: Statement) -> Verdict:
        if not run_locks and (statement.connection, statement.ordinal) == (target.connection, target.ordinal):
            held, *_ = ask(url, LOCKED)
            ask(url, "SELECT pg_terminate_backend(%s, 5000)", held["pid"])
            run_locks.append([held["pid"], held_again(url)])
        return Verdict.PASS

    with Wire(job_url(url, world.settings), hook) as wire:
        world.run(wire.url)
    [[before, after]] = run_locks
    assert after != before
    assert differing(tables(url), night.after) == []


def held_again(url: str) -> object:
    while not (held := ask(url, LOCKED)):
        pass
    return held[0]["pid"]


@pytest.mark.parametrize(
    ("name", "silence", "ended"),
    [
        ("usage-jobs rollup 0badcafe", 0, True),
        ("usage-jobs rollup 0badcafe", 60, False),  # perhaps it still computes
        ("usage-jobs rollup 2 0badcafe", 0, False),  # another schema's
        ("psql", 0, False),
    ],
)
def test_who_takes_the_run_lock_ends_what_silent_runs_left(
    name: str, silence: int, ended: bool, copy: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = copy()
    with psycopg.connect(url, application_name=name) as other:
        other.execute("SELECT 1")
        pid = other.info.backend_pid
        while not ask(url, "SELECT pid FROM pg_stat_activity WHERE pid = %s AND state LIKE 'idle%%'", pid):
            pass
        # The guard's own limit as well, of which 0 is none.
        monkeypatch.setattr(run_lock, "SILENCE_SECONDS", silence)
        world.run(url)
        if ended:
            with pytest.raises(psycopg.OperationalError):
                other.execute("SELECT 1")
        else:
            other.execute("SELECT 1")

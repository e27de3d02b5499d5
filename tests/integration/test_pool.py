"""Every command behind a transaction pooler with two connections; and when others hold these.

A command that waited for ever would hang its test: holders let go after a minute, and it succeeds where it must not.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pooler
import psycopg
import pytest
from commands import DAY, EVERY_COMMAND, Ran, add_usage, applied, ask, contents, pausing, usage_jobs, usage_jobs_process
from pooler import Pooler
from prepaid import prepaid

pytestmark = [
    pytest.mark.skipif(pooler.PROGRAM is None, reason=pooler.MISSING),
    pytest.mark.direct("has a pooler of its own", once=True),
]
MINUTE = 60.0


@pytest.fixture
def pool(server_url: str) -> Iterator[Pooler]:
    with pooler.running(server_url) as made:
        yield made


@pytest.fixture
def booked(database: str) -> str:
    """A database that a run has covered, with some credit drawn."""
    prepaid(applied(database), granted="0.05", purchased="1")
    add_usage(database)
    assert usage_jobs("run", url=database).code == 0
    return database


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which are not made; and a server of the pool is waited for only shortly."""
    made: list[float] = []
    pausing(monkeypatch, made.append)
    monkeypatch.setattr("jobs.postgres.connections.ADMISSION_SECONDS", 0.3)
    return made


class Held:
    """Connections of the pool in open transactions."""

    def __init__(self, url: str, size: int) -> None:
        self._let_go = ExitStack()
        for _ in range(size):
            connection = self._let_go.enter_context(psycopg.connect(url))
            connection.execute("SELECT 1")

    def let_go(self) -> None:
        self._let_go.close()


@contextmanager
def held(url: str, size: int = 2) -> Iterator[Held]:
    """So many of the pool's connections, for as long as the block lasts, or a minute."""
    holders = Held(url, size)
    timer = threading.Timer(MINUTE, holders.let_go)
    timer.start()
    try:
        yield holders
    finally:
        timer.cancel()
        timer.join()
        holders.let_go()


def full(ran: Ran) -> None:
    """It ended as it should where the pool is full."""
    assert ran.code == 5, ran.err
    assert "the pooler gave no server connection within 0.3 s: the pool is full" in ran.err
    assert "enlarge the pool" in ran.err


# Free


@pytest.mark.thorough
def test_every_command_works(booked: str, pool: Pooler) -> None:
    for command in EVERY_COMMAND:
        ran = usage_jobs(*command, "--json", url=pool.url(booked))
        assert ran.code == 0, ran.err
        if command[0] in ("reconcile", "explain"):
            assert ran.object == usage_jobs(*command, "--json", url=booked).object


@pytest.mark.thorough
def test_the_first_night_behind_a_pooler(database: str, pool: Pooler) -> None:
    """From an empty schema on, the run in a process of its own, with nothing but the address."""
    add_usage(database)
    assert usage_jobs("schema", "--apply", url=pool.url(database)).code == 0
    ran = usage_jobs_process("run", "--date", str(DAY), DATABASE_URL=pool.url(database))
    assert ran.code == 0, ran.err
    assert ask(database, "SELECT user_id FROM rollup.user_monthly") == [{"user_id": "ada"}]


def test_check_names_the_pooler_and_the_reader(booked: str, pool: Pooler) -> None:
    told = {f["subject"]: f["found"] for f in usage_jobs("check", "--json", url=pool.url(booked)).object["findings"]}
    assert (told["connection"], told["reader"]) == ("transaction pooler", "copy")
    told = {f["subject"]: f["found"] for f in usage_jobs("check", "--json", url=booked).object["findings"]}
    assert (told["connection"], told["reader"]) == ("direct", "connectorx")


def test_connectorx_is_refused_by_name(booked: str, pool: Pooler) -> None:
    """Before anything is read or written, and whether there is anything to read or not."""
    for command in (("check",), ("run",), ("run", "--dry-run")):
        before = contents(booked)
        ran = usage_jobs(*command, url=pool.url(booked), USAGE_JOBS_READER="connectorx")
        assert ran.code == 2
        assert "a transaction pooler" in ran.err
        assert contents(booked) == before
        add_usage(booked, user_id=f"who came before {command}")


def test_a_lock_that_another_client_of_the_pool_holds(booked: str, pool: Pooler) -> None:
    with psycopg.connect(booked) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtext('usage-jobs'), hashtext('rollup'))")
        ran = usage_jobs("run", url=pool.url(booked))
        assert ran.code == 4
        assert "another run holds the lock" in ran.err
    assert usage_jobs("run", url=pool.url(booked)).code == 0


# Full


@pytest.mark.thorough
def test_a_full_pool_ends_a_command_in_words(booked: str, pool: Pooler, pauses: list[float]) -> None:
    before = contents(booked)
    with held(pool.url(booked)):
        for words in (("run",), ("check", "--json")):
            pauses.clear()
            ran = usage_jobs(*words, url=pool.url(booked))
            full(ran)
            assert "--json" not in words or ran.object["exit_code"] == 5
            assert pauses, "it tried more than once"
    assert contents(booked) == before
    assert usage_jobs("run", url=pool.url(booked)).code == 0


@pytest.mark.thorough
def test_one_connection_is_too_few_for_a_run(booked: str, pool: Pooler, pauses: list[float]) -> None:
    """The guard takes the only one: the run ends all the same, and gives the lock back."""
    add_usage(booked, user_id="bob")
    before = contents(booked)
    with held(pool.url(booked), 1):
        full(usage_jobs("run", url=pool.url(booked)))
    assert pauses
    assert contents(booked) == before
    assert usage_jobs("run", url=pool.url(booked)).code == 0


def test_a_pool_that_is_freed_between_two_tries(
    booked: str, pool: Pooler, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (("run",), ("schema", "--apply"), ("reconcile",), ("export", "--month", "2026-06")):
        pauses.clear()
        with held(pool.url(booked)) as holders, monkeypatch.context() as patch:

            def pause(seconds: float, holders: Held = holders) -> None:
                pauses.append(seconds)
                holders.let_go()

            pausing(patch, pause)
            ran = usage_jobs(*command, url=pool.url(booked))
        assert ran.code == 0, ran.err
        assert len(pauses) == 1


@pytest.mark.parametrize("size", [1, 2])
def test_a_pool_that_is_freed_while_a_run_waits(booked: str, pool: Pooler, size: int) -> None:
    with held(pool.url(booked), size) as holders:
        freed = threading.Thread(target=when_somebody_waits, args=(pool, holders.let_go))
        freed.start()
        ran = usage_jobs("run", url=pool.url(booked))
        freed.join()
    assert ran.code == 0, ran.err


def when_somebody_waits(pool: Pooler, act: Callable[[], None]) -> None:
    while not any(row["cl_waiting"] for row in pool.ask("SHOW POOLS")):
        pass
    act()


# Down


def test_a_pooler_that_is_down(booked: str, pool: Pooler) -> None:
    address = pool.url(booked)
    pool.kill()
    for command in EVERY_COMMAND:
        ran = usage_jobs(*command, url=address)
        assert ran.code == 5
        assert f"cannot reach the database postgres@127.0.0.1:{pool.port}" in ran.err
        assert "Nothing listens there" in ran.err


def test_a_server_that_is_down_behind_its_pooler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pooler takes the connection, and then has nobody to hand it on to."""
    monkeypatch.setattr("jobs.postgres.connections.CONNECT_SECONDS", 2)
    nobody = "postgresql://job:s3cret@127.0.0.1:1/app"
    with pooler.running(nobody) as pool:
        ran = usage_jobs("run", url=pool.url(nobody))
    assert ran.code == 5
    assert f"cannot reach the database job@127.0.0.1:{pool.port}/app" in ran.err
    assert "s3cret" not in ran.err

"""One run at a time: the guard's advisory lock, and the fence that holds even where the guard is lost.

The guard is a transaction on its own connection that holds a transaction-level advisory lock (a transaction pooler
gives nothing else) while the run lasts. It writes nothing and pings, so that the server may end it 60 s after its
client has gone silent. Whoever has the guard ends what runs before it left silent, and marks their running rows
crashed; every transaction that writes takes its own row of ``rollup.runs`` FOR SHARE and goes on only while that says
``running``.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import psycopg

from jobs.domain.errors import LockedError, UnreachableError, UsageJobsError
from jobs.postgres import connections
from jobs.postgres.connections import TOKEN_BYTES, Connection, ReconnectingConnection
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import deadline, retry
from jobs.postgres.sql_loader import compose, job_table
from jobs.settings import Settings

PING = "SELECT 'usage-jobs is alive'"
PING_SECONDS = 2
ANSWER_SECONDS = 5
"""A ping that has no answer by then tells that the way to the server is dead, without a word to those who use it."""
SILENCE_SECONDS = 60
"""So long a guard, or a transaction of a run, may hear nothing of its client."""


class Disconnectable(Protocol):
    """What works while the lock is held: a link, or several."""

    def lost(self) -> None:
        """The way to the server is dead."""
        ...


def name_of_work(settings: Settings) -> str:
    """What the server calls the connections on which runs of this schema work, but for the token of each."""
    return _name("usage-jobs", settings)


def _name(kind: str, settings: Settings) -> str:
    # A name has 63 bytes, a token and its blank among them; and the server changes all but ASCII in it.
    return f"{kind} {settings.rollup_schema}"[: 62 - 2 * TOKEN_BYTES].encode("ascii", "replace").decode()


@contextmanager
def hold_run_lock(address: Address, settings: Settings, link: Disconnectable) -> Iterator[None]:
    """Holds the locks of this schema and of its source while the run works on ``link``; LockedError (exit 4) naming the
    run that holds one.

    A guard that is lost is taken again. Where its way to the server is dead that of ``link`` is given up too: whoever
    waits there for an answer would wait for ever.
    """
    guard = _taken(address, settings)
    over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(guard, settings, link, over), daemon=True)
    try:
        keeper.start()
        yield
    finally:
        over.set()
        keeper.join(2 * ANSWER_SECONDS)


def _taken(address: Address, settings: Settings) -> ReconnectingConnection:
    guard = retry(lambda: ReconnectingConnection(address, _name("usage-jobs guard", settings)))
    try:
        # On one link: what is left on the server of a try that was swallowed, lock and all, is ended by the next one.
        retry(lambda: _hold(guard, settings))
    except BaseException:
        guard.__exit__()
        raise
    return guard


def _hold(guard: ReconnectingConnection, settings: Settings) -> None:
    """Opens the transaction that holds the lock; without it the connection is closed."""
    connection = guard.connection
    try:
        with deadline(connection, connections.ADMISSION_SECONDS):
            connection.execute("BEGIN")
            connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{SILENCE_SECONDS}s'")
            got = connection.execute(
                "SELECT pg_try_advisory_xact_lock(hashtext('usage-jobs'), hashtext(%s))", [settings.rollup_schema]
            ).fetchone()
            if not got or not got[0]:
                raise LockedError(_holder(connection, settings))
            _lock_source(connection, settings)
            # A guard falls that long after its last ping, which may be older than the last word of its run.
            silence = SILENCE_SECONDS - PING_SECONDS - ANSWER_SECONDS
            silent = {"name": f"{name_of_work(settings)} ", "token": 2 * TOKEN_BYTES, "silence": silence}
            connection.execute(compose("run_lock.end_silent"), silent)
    except BaseException:
        connection.close()
        raise


def _lock_source(connection: Connection, settings: Settings) -> None:
    """Locks the table of the usage as well: two deployments, each with a schema of its own, would both draw on it."""
    found = connection.execute(compose("run_lock.lock_source"), {"schema": settings.source_schema}).fetchall()
    for table, is_locked in found:
        if not is_locked:
            raise LockedError(
                f"a run of another deployment (its schema is not {settings.rollup_schema}) holds the lock of {table}, "
                "where the usage is. Nothing was done. Let only one deployment draw there, or rows are drawn twice"
            )


def _keep(guard: ReconnectingConnection, settings: Settings, link: Disconnectable, over: threading.Event) -> None:
    with guard:
        while not over.wait(PING_SECONDS):
            if guard.is_open:
                _ping(guard, link)
            if not guard.is_open:
                # Until it is ours again the fence stands alone: if another run takes over, our next write is refused.
                with suppress(psycopg.Error, UsageJobsError):
                    _hold(guard, settings)
        # A round trip: closing alone would free the lock some time after we are gone, and the next run exit 4.
        if guard.is_open:
            with suppress(psycopg.Error, UnreachableError), deadline(guard.connection, ANSWER_SECONDS):
                guard.connection.execute("ROLLBACK")


def _ping(guard: ReconnectingConnection, link: Disconnectable) -> None:
    connection = guard.connection
    try:
        with deadline(connection, ANSWER_SECONDS):
            connection.execute(PING)
    except UnreachableError:
        link.lost()
    except psycopg.Error:
        connection.close()  # also after an error that it would survive: its transaction, and the lock, are gone


def _holder(connection: Connection, settings: Settings) -> str:
    row = connection.execute(compose("run_log.running", runs=job_table(settings, "runs"))).fetchone()
    who = f"run {row[0]} ({row[1]}, started {row[2]:%Y-%m-%d %H:%M:%S} UTC)" if row else "a run that just starts"
    return (
        f"another run holds the lock of schema {settings.rollup_schema}: {who}. Nothing was done; it covers every "
        "open day itself. Wait for it to end, or see `usage-jobs runs`"
    )


def state_of_run(connection: Connection, settings: Settings, run_id: int) -> str:
    """The status of a run that said running: crashed, where it is dead and could not say so."""
    values = {"schema": settings.rollup_schema, "run_id": run_id}
    row = connection.execute(compose("run_lock.state_of_run", runs=job_table(settings, "runs")), values).fetchone()
    return "crashed" if row is None else str(row[0])


def check_ownership(connection: Connection, settings: Settings, run_id: int) -> None:
    """Inside a writing transaction: LockedError unless our run is still the one that may write."""
    row = connection.execute(compose("run_lock.check_ownership", runs=job_table(settings, "runs")), [run_id]).fetchone()
    if row is None or row[0] != "running":
        raise LockedError(
            f"run {run_id} was taken for dead and another took over (it is marked {row[0] if row else 'gone'}): "
            "it stops here; what it had committed stands, and the other run completes it"
        )

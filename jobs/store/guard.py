"""One run at a time: the guard's advisory lock, and the fence that holds even where the guard is lost.

The guard is a transaction on its own connection that holds a transaction-level advisory lock (a transaction pooler
gives nothing else) while the run lasts. It writes nothing and pings, so that the server may end it 60 s after its
client has gone silent. Whoever has the guard marks older running rows crashed; every transaction that writes takes
its own row of ``rollup.runs`` FOR SHARE and goes on only while that says ``running``.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from jobs.model.errors import LockedError
from jobs.settings import Settings
from jobs.store import database
from jobs.store.address import Address
from jobs.store.database import Connection, connect
from jobs.store.faults import deadline, retried
from jobs.store.statements import own, statement

PING_SECONDS = 10


@contextmanager
def guarded(address: Address, settings: Settings) -> Iterator[None]:
    """Holds the lock of this schema; LockedError (exit 4) naming the run that holds it."""
    connection = retried(lambda: _holding(address, settings))
    over = threading.Event()
    pinger = threading.Thread(target=_ping, args=(connection, over), daemon=True)
    try:
        pinger.start()
        yield
    finally:
        over.set()
        pinger.join()
        # A round trip: closing alone would free the lock some time after we are gone, and the next run exit 4.
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
        connection.close()


def _holding(address: Address, settings: Settings) -> Connection:
    """A connection whose open transaction holds the lock."""
    connection = connect(address)
    try:
        with deadline(connection, database.ADMISSION_SECONDS):
            connection.execute("BEGIN")
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = '60s'")
        got = connection.execute(
            "SELECT pg_try_advisory_xact_lock(hashtext('usage-jobs'), hashtext(%s))", [settings.rollup_schema]
        ).fetchone()
        if not got or not got[0]:
            raise LockedError(_holder(connection, settings))
    except BaseException:
        connection.close()
        raise
    return connection


def _ping(connection: Connection, over: threading.Event) -> None:
    while not over.wait(PING_SECONDS):
        try:
            connection.execute("SELECT 1")
        except psycopg.Error:
            # The lock is gone. The fence still stands: if another run takes over, our next write is refused.
            return


def _holder(connection: Connection, settings: Settings) -> str:
    row = connection.execute(statement("running", runs=own(settings, "runs"))).fetchone()
    who = f"run {row[0]} ({row[1]}, started {row[2]:%Y-%m-%d %H:%M:%S} UTC)" if row else "a run that just starts"
    return (
        f"another run holds the lock of schema {settings.rollup_schema}: {who}. Nothing was done; it covers every "
        "open day itself. Wait for it to end, or see `usage-jobs runs`"
    )


def pass_fence(connection: Connection, settings: Settings, run_id: int) -> None:
    """Inside a writing transaction: LockedError unless our run is still the one that may write."""
    row = connection.execute(statement("fence", runs=own(settings, "runs")), [run_id]).fetchone()
    if row is None or row[0] != "running":
        raise LockedError(
            f"run {run_id} was taken for dead and another took over (it is marked {row[0] if row else 'gone'}): "
            "it stops here; what it had committed stands, and the other run completes it"
        )

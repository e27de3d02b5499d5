"""One run at a time: the run lock, and the ownership check, which protects the data even where the lock is lost.

The run lock is a transaction-level advisory lock (a transaction pooler supports no other kind). A transaction on its
own connection, the lock connection, holds it as long as the run lasts. This transaction writes nothing; it sends pings.

How the lock of a crashed run is freed: where its process has ended, the server ends the session at once. Where its
host or network has, the server ends the transaction after SILENCE_SECONDS without a ping (``_begin``). A run whose
connection was lost ends its old session when it connects again (``connections.ReconnectingConnection``). Until then the
next run ends with exit code 4. The run that gets the lock terminates other silent transactions of earlier runs (query
``end_silent``), which keep rows locked; it then marks their rows of ``rollup.runs`` crashed (``run_log.begin_run``).

The ownership check: every writing transaction locks the run's own row of ``rollup.runs`` FOR SHARE, and continues only
if its status is ``running``.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psycopg

from jobs.domain.errors import LockedError, UnreachableError, UsageJobsError
from jobs.postgres import connections
from jobs.postgres.connections import TOKEN_LENGTH, Connection, ReconnectingConnection, read_dicts, read_row, read_value
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import retry
from jobs.postgres.socket_watchdog import deadline
from jobs.postgres.sql_loader import compose
from jobs.settings import Settings

PING = "SELECT 'usage-jobs is alive'"
PING_SECONDS = 2
ANSWER_SECONDS = 5
"""Without an answer to a ping within this time the connection to the server is dead; no other error would show it."""
SILENCE_SECONDS = 60
"""How long the lock connection, or a transaction of a run, may get nothing from its client."""
Take = Callable[[Connection], None]


def worker_name(settings: Settings, kind: str = "usage-jobs") -> str:
    """Returns the application_name of the connections on which runs of this schema work, without the token."""
    # An application_name has 63 bytes at most, including blank and token; the server replaces all but ASCII in it.
    return f"{kind} {settings.rollup_schema}"[: 62 - TOKEN_LENGTH].encode("ascii", "replace").decode()


def hold_run_lock(address: Address, settings: Settings, disconnect: Callable[[], None]) -> AbstractContextManager[None]:
    """Holds the lock of this schema and that of its usage table while a run is at work, and sends pings. Raises
    LockedError (exit 4) with the run that holds one of them."""
    return send_pings(address, settings, disconnect, lambda connection: _take_locks(connection, settings))


@contextmanager
def send_pings(
    address: Address, settings: Settings, disconnect: Callable[[], None], take: Take = lambda _: None
) -> Iterator[None]:
    """Sends pings on the lock connection while a run, or a dry run, is at work; opens it again where it was lost.

    - ``disconnect``: ends the run's connections where the server cannot be reached: they would wait for ever
    - ``take``: called in each transaction of the lock connection
    """
    # The application_name says "guard": operators know it.
    lock = retry(lambda: ReconnectingConnection(address, worker_name(settings, "usage-jobs guard")))
    try:
        # All tries on one ReconnectingConnection: it terminates a lost session that may still hold the lock.
        retry(lambda: _begin(lock, take))
    except BaseException:
        lock.__exit__()
        raise
    over = threading.Event()
    keeper = threading.Thread(target=_keep_alive, args=(lock, take, disconnect, over), daemon=True)
    try:
        keeper.start()
        yield
    finally:
        over.set()
        keeper.join(2 * ANSWER_SECONDS)


def _begin(lock: ReconnectingConnection, take: Take) -> None:
    """Opens the transaction of the lock connection. Closes the connection where that fails."""
    connection = lock.connection
    try:
        with deadline(connection, connections.ADMISSION_SECONDS):
            connection.execute("BEGIN")
            connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{SILENCE_SECONDS}s'")
            take(connection)
    except BaseException:
        connection.close()
        raise


def _take_locks(connection: Connection, settings: Settings) -> None:
    """Takes both locks until COMMIT, and ends transactions of dead runs. Raises LockedError."""
    text = "SELECT pg_try_advisory_xact_lock(hashtext('usage-jobs'), hashtext(%s))"
    if not read_value(connection, text, [settings.rollup_schema]):
        raise LockedError(_holder(connection, settings))
    # The usage table, too: two deployments with different schemas would both draw on it.
    for source in read_dicts(connection, "run_lock.lock_source", schema=settings.source_schema):
        if not source["is_locked"]:
            raise LockedError(
                f"a run of another deployment (its schema is not {settings.rollup_schema}) holds the lock of "
                f"{source['name']}, where the usage is. Nothing was done. Let only one deployment draw there, "
                "or rows are drawn twice"
            )
    # The server ends a lock connection SILENCE_SECONDS after its last ping, which may be older than the last statement
    # of its run.
    silence = SILENCE_SECONDS - PING_SECONDS - ANSWER_SECONDS
    silent = {"name": f"{worker_name(settings)} ", "token": TOKEN_LENGTH, "silence": silence}
    connection.execute(compose("run_lock.end_silent"), silent)


def _keep_alive(
    lock: ReconnectingConnection, take: Take, disconnect: Callable[[], None], over: threading.Event
) -> None:
    """Pings on the lock connection until ``over``; opens it again where it was lost."""
    with lock:
        while not over.wait(PING_SECONDS):
            if lock.is_open:
                _ping(lock, disconnect)
            if not lock.is_open:
                # Until then only the ownership check protects: if another run starts, our next write is refused.
                with suppress(psycopg.Error, UsageJobsError):
                    _begin(lock, take)
        # A round trip: close() alone would release the lock only some time later, and the next run would exit with 4.
        if lock.is_open:
            with suppress(psycopg.Error, UnreachableError), deadline(lock.connection, ANSWER_SECONDS):
                lock.connection.execute("ROLLBACK")


def _ping(lock: ReconnectingConnection, disconnect: Callable[[], None]) -> None:
    connection = lock.connection
    try:
        with deadline(connection, ANSWER_SECONDS):
            connection.execute(PING)
    except UnreachableError:
        disconnect()
    except psycopg.Error:
        connection.close()  # after any error: its transaction, and with it the lock, is gone


def _holder(connection: Connection, settings: Settings) -> str:
    row = read_row(connection, compose("run_log.running", settings))
    who = f"run {row[0]} ({row[1]}, started {row[2]:%Y-%m-%d %H:%M:%S} UTC)" if row else "a run that is just starting"
    return (
        f"another run holds the lock of schema {settings.rollup_schema}: {who}. Nothing was done; it covers every "
        "open day itself. Wait for it to end, or see `usage-jobs runs`"
    )


def read_run_state(connection: Connection, settings: Settings, run_id: int) -> str:
    """Returns the status of a run; `crashed` for a running one whose process has died."""
    row = read_row(connection, compose("run_lock.state_of_run", settings), schema=settings.rollup_schema, run_id=run_id)
    return "crashed" if row is None else str(row[0])


def check_ownership(connection: Connection, settings: Settings, run_id: int) -> None:
    """Raises LockedError unless this run may still write; call it in every writing transaction."""
    row = read_row(connection, compose("run_lock.check_ownership", settings), run_id=run_id)
    if row is None or row[0] != "running":
        raise LockedError(
            f"run {run_id} lost the run lock and another run has started (it is marked {row[0] if row else 'gone'}): "
            "it stops here; its committed batches stay, and the other run completes the rest"
        )

"""Connections and transactions; the driver's errors come out as ours (``errors``, ``connect_errors``).

Every transaction sets its own limits with SET LOCAL: behind a pooler a plain SET would leak to other clients.
"""

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.abc import Params
from psycopg.pq import TransactionStatus
from psycopg.rows import Row

from jobs.domain.errors import UsageJobsError
from jobs.postgres import connect_errors, socket_watchdog
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import deadline, is_starting, retry, translate_error
from jobs.postgres.sql_loader import compose, escape_percent

Connection = psycopg.Connection[Any]
CONNECT_SECONDS = 12
"""For a connection to be made, whichever of the host's addresses answers."""
ADMISSION_SECONDS = 20
"""How long a transaction waits for a server of the pool to begin on."""
NETWORK: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A network that swallows packets is noticed within about a minute."""
BLOCK = 16 * 2**20
READ_COMMITTED, REPEATABLE_READ = psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.REPEATABLE_READ
LIMITS = (
    "SET LOCAL statement_timeout = '15min'",
    "SET LOCAL lock_timeout = '30s'",
    "SET LOCAL idle_in_transaction_session_timeout = '15min'",
    # Without it a client that dies leaves its locks until the running statement ends.
    "SET LOCAL client_connection_check_interval = '1s'",
    # What a database tells every session must not change how values are read.
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL datestyle = 'ISO, MDY'",
    "SET LOCAL extra_float_digits = 1",  # the shortest decimal that stands for a binary number
)


def connect(address: Address, name: str = "usage-jobs") -> Connection:
    """A connection in autocommit mode (transactions are opened by ``transaction``), by a name that the server shows.

    Raises PreflightError naming host, user, the reason and what mends it, within 15 seconds.
    """
    try:
        return psycopg.connect(
            address.url,
            autocommit=True,
            # A pooler in transaction mode gives each transaction another server: nothing may be prepared.
            prepare_threshold=None,
            cursor_factory=Cursor,
            connect_timeout=max(2, CONNECT_SECONDS // _addresses(address)),
            application_name=name,
            client_encoding="utf8",  # COPY hands bytes over as they come: a database may default to another
            **NETWORK,
        )
    except psycopg.OperationalError as error:
        raise connect_errors.explain_connect_error(error, address) from None


def _addresses(address: Address) -> int:
    """How many addresses the driver tries one after another, each for its whole time; at least 1."""
    # A name that is not looked up by the driver need not be known here either.
    given = [option.val for option in psycopg.pq.Conninfo.get_defaults() if option.keyword == b"hostaddr"]
    if "hostaddr" in address.parts or any(given):
        return 1
    found = 0
    for host in address.host.split(","):
        with suppress(OSError, UnicodeError):
            found += len(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)) if host[:1] not in ("", "/") else 1
    return max(1, found)


TOKEN_BYTES = 4


class Cursor(psycopg.Cursor[Row]):
    """A cursor to which a % in a name or a literal is a character, whether values are bound or not."""

    def execute(self, query: Any, params: Params | None = None, **options: Any) -> Self:
        """As the driver's."""
        return super().execute(self._escaped(query, params), params, **options)

    def stream(self, query: Any, params: Params | None = None, **options: Any) -> Iterator[Row]:
        """As the driver's."""
        return super().stream(self._escaped(query, params), params, **options)

    def _escaped(self, query: Any, params: Params | None) -> Any:
        return escape_percent(query, self) if params is not None and isinstance(query, sql.Composable) else query


class ReconnectingConnection:
    """A connection that is made anew where it broke; a context manager that closes it.

    The server shows it by a name of its own: ``name`` and a random token.
    """

    def __init__(self, address: Address, name: str = "usage-jobs") -> None:
        self._address = address
        self._name = f"{name} {secrets.token_hex(TOKEN_BYTES)}"
        self._connection = connect(address, self._name)
        self._over = threading.Event()
        threading.Thread(
            target=socket_watchdog.watch_socket, args=(lambda: self._connection, self._over), daemon=True
        ).start()

    @property
    def connection(self) -> Connection:
        """The connection; raises PreflightError where a new one is needed and cannot be had."""
        if self._connection.closed:
            if self._over.is_set():
                raise UsageJobsError("the run has ended")  # whoever still tries again need not
            self._connection = connect(self._address, self._name)
            self._end_lost()
        return self._connection

    @property
    def is_open(self) -> bool:
        return not self._connection.closed

    def lost(self) -> None:
        """Another thread has found that the way to the server is dead: who waits for an answer there need not."""
        socket_watchdog.shutdown_socket(self._connection)

    def retire(self) -> None:
        """``lost``, and no other is made in its place."""
        self._over.set()
        self.lost()

    def _end_lost(self) -> None:
        """Where the network swallowed the old connection the server still holds its transaction, locks and all."""
        with suppress(psycopg.Error), deadline(self._connection, ADMISSION_SECONDS):
            self._connection.execute(compose("run_lock.end_lost"), [self._name])

    def __enter__(self) -> "ReconnectingConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._connection.close()


@contextmanager
def transaction(
    connection: Connection, *, snapshot: bool = False, lock_timeout: str | None = None
) -> Iterator[Connection]:
    """One READ COMMITTED transaction under our limits; COMMIT is a round trip of its own. Inside another one a
    savepoint of that.

    ``snapshot``: all of it sees the same moment, and cannot write; ``lock_timeout``: another one than LIMITS has.
    """
    with ExitStack() as whole:
        with deadline(connection, ADMISSION_SECONDS):
            if connection.info.transaction_status == TransactionStatus.INTRANS:
                whole.enter_context(connection.transaction())
            else:
                # Named in BEGIN, because a role or a database may default to another level.
                connection.isolation_level = REPEATABLE_READ if snapshot else READ_COMMITTED
                # None, not False: READ WRITE would overrule a database that is read-only by default.
                connection.read_only = True if snapshot else None
                whole.enter_context(connection.transaction())
                # In one round trip: a server far away would make seven of them a fifth of a second.
                more = [f"SET LOCAL lock_timeout = '{lock_timeout}'"] if lock_timeout else []
                connection.execute("; ".join([*LIMITS, *more]).encode())
        yield connection


@contextmanager
def open_link(address: Address, name: str = "usage-jobs") -> Iterator[ReconnectingConnection]:
    """A link whose driver errors come out as ours, with a message for an operator."""
    try:
        with retry(lambda: ReconnectingConnection(address, name), while_=is_starting) as link:
            yield link
    except psycopg.Error as error:
        raise translate_error(error, address) from error
    except UsageJobsError as error:
        if address.scrubbed(str(error)) == str(error):
            raise
        # What a server says may hold what it was told.
        raise type(error)(address.scrubbed(str(error))) from None


def blocks(connection: Connection, query: sql.Composable) -> Iterator[BytesIO]:
    """The rows of ``query`` as CSV without a header, whole rows at a time, each block about BLOCK bytes."""
    text = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(query)
    with copying(connection, text) as copy:
        block = bytearray()
        for line in copy:
            # Not before the next row is here: a pooler whose server dies writes its last words into the row at hand,
            # which is the last one then.
            if len(block) >= BLOCK:
                yield BytesIO(block)
                block = bytearray()
            block += line
    yield BytesIO(block)


@contextmanager
def copying(connection: Connection, text: sql.Composed) -> Iterator[psycopg.Copy]:
    """A COPY, in either direction; raises OperationalError where the connection is lost."""
    try:
        with connection.cursor() as cursor, cursor.copy(text) as copy:
            yield copy
    except (psycopg.ProgrammingError, ValueError) as error:
        # A pooler adds a word of its own to the server's last: two errors, which the driver takes for two results of
        # something that should have one. Whether the connection's end has come by already is chance.
        at_the_end = isinstance(error, ValueError) and str(error).startswith("too many values to unpack")
        at_the_start = isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None
        if not (at_the_start or at_the_end):
            raise
        connection.close()
        raise psycopg.OperationalError("the connection was lost in the middle of COPY") from error


@contextmanager
def by_index(connection: Connection) -> Iterator[None]:
    """Statements inside find rows by index; in an open transaction.

    A planner has no statistics of a stage, and of a table that was vacuumed while it was empty the wrong ones. It then
    makes a hash of all of usage_daily for each batch (as long as all updates take), or reads the ledger from its first
    row for each draw while the batches fill it: minutes, where it should be a second.
    """
    ways = ("enable_hashjoin", "enable_mergejoin", "enable_seqscan")
    connection.execute("; ".join([*(f"SET LOCAL {way} = off" for way in ways), "SET LOCAL work_mem = '64MB'"]).encode())
    yield
    connection.execute("; ".join(f"SET LOCAL {way} TO DEFAULT" for way in (*ways, "work_mem")).encode())

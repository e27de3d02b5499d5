"""Opens connections and transactions, and translates the driver's errors (``errors``, ``connect_errors``).

Every transaction sets its limits with SET LOCAL: behind a pooler a plain SET would apply to other clients, too.
"""

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from typing import Any, LiteralString, Self, TypeVar

import psycopg
from psycopg import sql
from psycopg.abc import Params
from psycopg.pq import Conninfo, TransactionStatus
from psycopg.rows import Row, dict_row

from jobs.domain.errors import StartingError, UsageJobsError
from jobs.postgres import connect_errors, socket_watchdog
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import retry, translate_error
from jobs.postgres.socket_watchdog import deadline
from jobs.postgres.sql_loader import compose, escape_percent

Connection = psycopg.Connection[Any]
T = TypeVar("T")
CONNECT_SECONDS = 12
"""Time to connect, whichever of the host's addresses answers."""
ADMISSION_SECONDS = 20
"""How long a transaction waits for a server connection of the pool."""
NETWORK: dict[str, Any] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""With these, a network that drops packets is noticed within about a minute."""
BLOCK = 16 * 2**20
READ_COMMITTED, REPEATABLE_READ = psycopg.IsolationLevel.READ_COMMITTED, psycopg.IsolationLevel.REPEATABLE_READ
LIMITS = (
    "SET LOCAL statement_timeout = '15min'",
    "SET LOCAL lock_timeout = '30s'",
    "SET LOCAL idle_in_transaction_session_timeout = '15min'",
    # Without it, the locks of a client that died stay until its running statement ends.
    "SET LOCAL client_connection_check_interval = '1s'",
    # Session defaults of the database must not change how values are read.
    "SET LOCAL timezone = 'UTC'",
    "SET LOCAL datestyle = 'ISO, MDY'",
    "SET LOCAL extra_float_digits = 1",  # the shortest decimal that identifies a binary number
)


def connect(address: Address, name: str = "usage-jobs") -> Connection:
    """Opens a connection in autocommit mode (``transaction`` opens transactions). ``name``: its application_name.

    Raises PreflightError with host, user, reason and remedy, within 15 seconds; ConfigError for an invalid parameter.
    """
    try:
        return psycopg.connect(
            address.url,
            autocommit=True,
            # A transaction pooler may use another server for each transaction: no prepared statements.
            prepare_threshold=None,
            cursor_factory=Cursor,
            connect_timeout=max(2, CONNECT_SECONDS // _count_addresses(address)),
            application_name=name,
            client_encoding="utf8",  # COPY gives raw bytes, and the database may have another default
            **NETWORK,
        )
    except psycopg.OperationalError as error:
        raise connect_errors.explain_connect_error(error, address) from None


def _count_addresses(address: Address) -> int:
    """Returns how many addresses the driver tries in turn, each with the whole connect_timeout; at least 1."""
    # With hostaddr the driver looks up no name.
    if "hostaddr" in address.parts or any(o.val for o in Conninfo.get_defaults() if o.keyword == b"hostaddr"):
        return 1
    found = 0
    for host in address.host.split(","):
        with suppress(OSError, UnicodeError):
            found += len(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)) if host[:1] not in ("", "/") else 1
    return max(1, found)


TOKEN_LENGTH = 8


class Cursor(psycopg.Cursor[Row]):
    """The driver's cursor, but a % in a name or a literal is a character, whether values are bound or not."""

    def execute(self, query: Any, params: Params | None = None, **options: Any) -> Self:
        return super().execute(self._escaped(query, params), params, **options)

    def stream(self, query: Any, params: Params | None = None, **options: Any) -> Iterator[Row]:
        return super().stream(self._escaped(query, params), params, **options)

    def _escaped(self, query: Any, params: Params | None) -> Any:
        return escape_percent(query, self) if params is not None and isinstance(query, sql.Composable) else query


class ReconnectingConnection:
    """A connection that reconnects after it was lost; a context manager that closes it.

    Its application_name is unique: ``name`` and a random token.
    """

    def __init__(self, address: Address, name: str = "usage-jobs") -> None:
        self._address = address
        self._name = f"{name} {secrets.token_hex(TOKEN_LENGTH // 2)}"
        self._connection = connect(address, self._name)
        self._over = threading.Event()
        watched = (lambda: self._connection, self._over)
        threading.Thread(target=socket_watchdog.watch_socket, args=watched, daemon=True).start()

    @property
    def connection(self) -> Connection:
        """The connection, opened again if it was lost. Raises PreflightError where that fails."""
        if self._connection.closed:
            if self._over.is_set():
                raise UsageJobsError("the run has ended")  # stops retries in other threads
            self._connection = connect(self._address, self._name)
            # The server may still hold the transaction and the locks of the lost session.
            with suppress(psycopg.Error), deadline(self._connection, ADMISSION_SECONDS):
                self._connection.execute(compose("run_lock.end_lost"), [self._name])
        return self._connection

    @property
    def is_open(self) -> bool:
        return not self._connection.closed

    def disconnect(self) -> None:
        """Shuts the socket, so that the thread that waits for an answer gets an error. For use by other threads."""
        socket_watchdog.shutdown_socket(self._connection)

    def retire(self) -> None:
        """Disconnects for good: the connection is not opened again."""
        self._over.set()
        self.disconnect()

    def __enter__(self) -> "ReconnectingConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._connection.close()


@contextmanager
def transaction(
    connection: Connection, *, snapshot: bool = False, lock_timeout: str | None = None
) -> Iterator[Connection]:
    """Opens a READ COMMITTED transaction with LIMITS; inside another transaction a savepoint.

    ``snapshot``: REPEATABLE READ and READ ONLY instead; ``lock_timeout``: instead of that of LIMITS.
    """
    with ExitStack() as whole:
        with deadline(connection, ADMISSION_SECONDS):
            if connection.info.transaction_status == TransactionStatus.INTRANS:
                whole.enter_context(connection.transaction())
            else:
                # The level is named in BEGIN, because a role or a database may have another default.
                connection.isolation_level = REPEATABLE_READ if snapshot else READ_COMMITTED
                # None, not False: READ WRITE would override a database that is read-only by default.
                connection.read_only = True if snapshot else None
                whole.enter_context(connection.transaction())
                # In one round trip: seven round trips to a distant server would take a fifth of a second.
                # No named query: settings take no bound values, and LIMITS are constants.
                more = [f"SET LOCAL lock_timeout = '{lock_timeout}'"] if lock_timeout else []
                connection.execute("; ".join([*LIMITS, *more]).encode())
        yield connection


@contextmanager
def open_link(address: Address, name: str = "usage-jobs") -> Iterator[ReconnectingConnection]:
    """Opens a connection whose driver errors are translated into ours, with a message for an operator."""
    try:
        # Wrong passwords, tried again, could lock an account, and a wrong address would only cost time.
        with retry(
            lambda: ReconnectingConnection(address, name), while_=lambda error: isinstance(error, StartingError)
        ) as link:
            yield link
    except psycopg.Error as error:
        raise translate_error(error, address) from error
    except UsageJobsError as error:
        if address.hide_password(str(error)) == str(error):
            raise
        # The server's message may contain the password that it was given.
        raise type(error)(address.hide_password(str(error))) from None


def query_database(address: Address, query: Callable[[Connection], T], *, snapshot: bool = False) -> T:
    """Returns the result of ``query`` in a transaction on a connection of its own, tried again after a transient
    error."""

    def query_once() -> T:
        with transaction(link.connection, snapshot=snapshot) as connection:
            return query(connection)

    with open_link(address) as link:
        return retry(query_once)


def read_dicts(connection: Connection, query: str | sql.Composed, /, **values: object) -> list[dict[str, Any]]:
    """Returns the rows of a query (or the name of one that needs no parts) by column; ``values`` are bound."""
    text = compose(query) if isinstance(query, str) else query
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(text, values).fetchall()


def read_row(connection: Connection, query: sql.Composed, /, **values: object) -> Any:
    """Returns the first row of a query as a tuple; None where there is none. ``values`` are bound."""
    return connection.execute(query, values).fetchone()


def read_value(connection: Connection, text: LiteralString | sql.Composed, values: Params | None = None) -> Any:
    """Returns the value of a query that has one row and one column. A text is of a query that reads no table of ours,
    and so needs no name."""
    [(value,)] = connection.execute(text, values).fetchall()
    return value


def read_csv_blocks(connection: Connection, query: sql.Composable) -> Iterator[BytesIO]:
    """Yields the rows of ``query`` as CSV without a header, in blocks of whole rows and about BLOCK bytes."""
    # COPY, because it is faster than fetching rows; it takes no bound values.
    text = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(query)
    with open_copy(connection, text) as copy:
        block = bytearray()
        for line in copy:
            # A block is yielded only when the next row has arrived: a pooler whose server dies writes its error message
            # into the last row.
            if len(block) >= BLOCK:
                yield BytesIO(block)
                block = bytearray()
            block += line
    yield BytesIO(block)


@contextmanager
def open_copy(connection: Connection, text: sql.Composed) -> Iterator[psycopg.Copy]:
    """Opens a COPY in either direction. Raises OperationalError where the connection is lost."""
    try:
        with connection.cursor() as cursor, cursor.copy(text) as copy:
            yield copy
    except (psycopg.ProgrammingError, ValueError) as error:
        # A pooler adds an error of its own to the server's: the driver takes the two errors for two results and raises
        # one of these exceptions. Which one depends on whether the end of the connection was seen already.
        at_the_end = isinstance(error, ValueError) and str(error).startswith("too many values to unpack")
        at_the_start = isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None
        if not (at_the_start or at_the_end):
            raise
        connection.close()
        raise psycopg.OperationalError("the connection was lost in the middle of COPY") from error


@contextmanager
def prefer_indexes(connection: Connection) -> Iterator[None]:
    """Makes the planner prefer indexes for the statements inside. Needs an open transaction.

    The planner has no statistics of temporary tables, and wrong ones of a table that was vacuumed while it was empty.
    It would hash all of usage_daily for each batch, or scan the whole ledger for each draw: minutes, not a second.
    """
    preferred = {"enable_hashjoin": "off", "enable_mergejoin": "off", "enable_seqscan": "off", "work_mem": "'64MB'"}
    connection.execute("; ".join(f"SET LOCAL {name} = {value}" for name, value in preferred.items()).encode())
    yield
    connection.execute("; ".join(f"SET LOCAL {name} TO DEFAULT" for name in preferred).encode())

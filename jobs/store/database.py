"""Connections, transactions, retries; and the driver's errors translated in one place.

Every transaction sets its own limits with SET LOCAL: behind a pooler a plain SET would leak to other clients.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from jobs.model.errors import PreflightError, UsageJobsError

Connection = psycopg.Connection[Any]
T = TypeVar("T")
# Serialization, deadlock, lock timeout, the server going away, an idle transaction ended: worth another try.
RETRIED = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "25P03", "53300", "08")
CONNECT_SECONDS = 10
BLOCK = 16 * 2**20
LIMITS = (
    "SET LOCAL statement_timeout = '15min'",
    "SET LOCAL lock_timeout = '30s'",
    "SET LOCAL idle_in_transaction_session_timeout = '15min'",
    # Without it a client that dies leaves its locks until the running statement ends.
    "SET LOCAL client_connection_check_interval = '1s'",
    "SET LOCAL timezone = 'UTC'",
)


@dataclass(frozen=True, slots=True)
class Address:
    """A database's address; printing it never shows the password."""

    url: str

    @property
    def parts(self) -> dict[str, str]:
        try:
            return {key: str(value) for key, value in conninfo_to_dict(self.url).items() if value is not None}
        except psycopg.ProgrammingError:
            raise PreflightError(
                "DATABASE_URL is not an address that PostgreSQL understands; expected "
                "postgresql://USER:PASSWORD@HOST:5432/postgres, special characters of the password URL-encoded"
            ) from None

    @property
    def place(self) -> str:
        parts = self.parts
        return f"{parts.get('host', 'the local socket')}:{parts.get('port', '5432')}"

    @property
    def pooled(self) -> bool:
        """Whether a transaction pooler answers there, which keeps no session state."""
        return self.parts.get("port") == "6543"

    def __repr__(self) -> str:
        parts = self.parts
        return f"{parts.get('user', '')}@{self.place}/{parts.get('dbname', '')}"

    def scrubbed(self, text: str) -> str:
        """``text`` without the password, encoded or not."""
        password = self.parts.get("password", "")
        written = self.url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        for secret in (self.url, written, quote(password, safe=""), quote(password), password):
            text = text.replace(secret, "***") if secret else text
        return text


def connect(address: Address) -> Connection:
    """A connection in autocommit mode (transactions are opened by ``transaction``).

    Raises PreflightError naming host, user and the server's reason, within about 10 seconds.
    """
    try:
        return psycopg.connect(
            address.url,
            autocommit=True,
            # A pooler in transaction mode gives each transaction another server: nothing may be prepared.
            prepare_threshold=None,
            connect_timeout=CONNECT_SECONDS,
            application_name="usage-jobs",
            client_encoding="utf8",  # COPY hands bytes over as they come: a database may default to another
        )
    except psycopg.OperationalError as error:
        reason = " ".join(address.scrubbed(str(error)).split())
        raise PreflightError(
            f"cannot reach the database {address!r}: {reason}. Check host, port, user and password in DATABASE_URL"
            " (or the SUPABASE_… variables), and that the server is up"
        ) from None


class Link:
    """A connection that is made anew where it broke; a context manager that closes it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection = connect(address)

    @property
    def connection(self) -> Connection:
        """The connection; raises PreflightError where a new one is needed and cannot be had."""
        if self._connection.closed:
            self._connection = connect(self._address)
        return self._connection

    def __enter__(self) -> "Link":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@contextmanager
def transaction(connection: Connection, *, undone: bool = False, snapshot: bool = False) -> Iterator[Connection]:
    """One READ COMMITTED transaction under our limits; COMMIT is a round trip of its own.

    ``undone``: it ends in ROLLBACK whatever happens, for a dry run that asks what a statement would change;
    ``snapshot``: all of it sees the same moment, and cannot write.
    """
    with connection.transaction(force_rollback=undone):
        if snapshot:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for limit in LIMITS:
            connection.execute(limit)
        yield connection


@contextmanager
def linked(address: Address) -> Iterator[Link]:
    """A link whose driver errors come out as ours, with a message for an operator."""
    try:
        with Link(address) as link:
            yield link
    except psycopg.Error as error:
        raise explained(error, address) from error


def blocks(connection: Connection, query: sql.Composable) -> Iterator[BytesIO]:
    """The rows of ``query`` as CSV without a header, whole rows at a time, each block about BLOCK bytes."""
    text = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(query)
    with connection.cursor() as cursor, cursor.copy(text) as copy:
        block = bytearray()
        for line in copy:
            block += line
            if len(block) >= BLOCK:
                yield BytesIO(block)
                block = bytearray()
    yield BytesIO(block)


def retried(work: Callable[[], T], *, attempts: int = 5, pause: Callable[[float], None] = time.sleep) -> T:
    """``work()``, tried again with growing pauses while its error is one that passes; repeatable work only."""
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except psycopg.Error as error:
            if attempt == attempts or not passes(error):
                raise
            pause(random.uniform(0.5, 1) * 0.2 * 2**attempt)  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable")


def passes(error: psycopg.Error) -> bool:
    """Whether another try may succeed: told by SQLSTATE; no SQLSTATE at all means the connection broke."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(RETRIED)


def explained(error: psycopg.Error, address: Address) -> UsageJobsError:
    """A driver's error as one of ours, with a message that tells an operator what to do."""
    state = error.sqlstate or "no SQLSTATE"
    text = " ".join(address.scrubbed(str(error)).split())
    remedies = {
        "42501": "grant the missing privilege; `usage-jobs check` names each",
        "42P01": "run `usage-jobs check`; make the job's own tables with `usage-jobs schema --apply`",
        "42703": "run `usage-jobs check`; add columns of the job's own tables with `usage-jobs schema --apply`",
        "53100": "the server's disk is full: make room, then run again",
        "53300": "the server has no connection left: raise max_connections or close others, then run again",
        "57014": "a statement took longer than its limit: look for locks or a missing index (`usage-jobs check`)",
        "25006": "the server is read-only (a replica?): use the primary's address",
    }
    remedy = remedies.get(state, "nothing half-written is left behind: run again; finished chunks write nothing")
    kind = PreflightError if state in ("42501", "42P01", "42703", "25006", "53300") else UsageJobsError
    return kind(f"{address!r} answered {state}: {text}. What to do: {remedy}")

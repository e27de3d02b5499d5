"""Errors of the database driver: which are transient and retried, and the messages for an operator."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from jobs.domain.errors import PreflightError, RefusedError, StartingError, UnreachableError, UsageJobsError
from jobs.postgres.conninfo import Address
from jobs.postgres.socket_watchdog import seconds_silent, shutdown_socket

T = TypeVar("T")
# SQLSTATEs worth a retry: serialization failure, deadlock, lock timeout, idle transaction ended, no connection left,
# operator intervention or shutdown (57), connection lost (08).
RETRIED = ("40001", "40P01", "55P03", "25P03", "53300", "57", "08")
RETRY_SECONDS = 120
"""No retry later than this after the first error: a job that cannot work ends with an error."""
LOST = ("08", "57P")
"""SQLSTATEs of a lost connection or a server that went away."""

REFUSED_BY_TABLE = ("22", "23", "42", "0A", "2B", "P0")
"""SQLSTATE classes of a write that the table refuses: data, constraints, definitions, dependencies, triggers."""

REMEDIES = {
    "42501": "grant the missing privilege; `usage-jobs check` names each",
    "42P01": "run `usage-jobs check`; make the job's own tables with `usage-jobs schema --apply`",
    "42703": "run `usage-jobs check`; add columns of the job's own tables with `usage-jobs schema --apply`",
    "53100": "the server's disk is full: make room, then run again",
    "53300": "the server has no connection left: raise max_connections or close others, then run again",
    "42704": "make what is missing first; the view for users needs Supabase's roles anon and authenticated",
    "57014": "a statement took longer than its limit: look for locks or a missing index (`usage-jobs check`)",
    "25006": "the server is read-only (a replica, or a project whose disk is full): use the primary's address",
}


def is_transient(error: psycopg.Error | UnreachableError) -> bool:
    """Whether a retry may succeed, by SQLSTATE; without a SQLSTATE the connection broke.

    An InternalError means that a pooler added its own error to the server's: the driver sees two results.
    """
    if isinstance(error, UnreachableError):
        return True
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InternalError)
    return error.sqlstate.startswith(RETRIED)


def is_starting(error: psycopg.Error | UnreachableError) -> bool:
    """Whether the server is starting or stopping. A first connection is retried for no other reason: wrong passwords
    could lock an account, and a wrong address would only cost time."""
    return isinstance(error, StartingError)


def retry(
    work: Callable[[], T],
    *,
    attempts: int = 5,
    pause: Callable[[float], None] = time.sleep,
    while_: Callable[[psycopg.Error | UnreachableError], bool] = is_transient,
) -> T:
    """Returns ``work()``, which must be repeatable; retries it with growing pauses.

    - ``attempts``: how often it is tried at most; no retry after RETRY_SECONDS since the first error
    - ``pause``: waits that many seconds
    - ``while_``: whether an error is retried
    """
    failed: float | None = None
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except (psycopg.Error, UnreachableError) as error:
            failed = failed or time.monotonic()
            if attempt == attempts or not while_(error) or time.monotonic() - failed > RETRY_SECONDS:
                raise
            pause(random.uniform(0.5, 1) * 0.2 * 2**attempt)  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable")


def translate_error(error: psycopg.Error, address: Address) -> UsageJobsError:
    """Returns a driver's error as one of ours, with a message that says what to do."""
    state = error.sqlstate or "no SQLSTATE"
    text = " ".join(address.hide_password(str(error)).split())
    lost = is_transient(error) if error.sqlstate is None else error.sqlstate.startswith(LOST)
    if lost:
        remedy = "the connection was lost, and lost again after a reconnect: is the server (or its pooler) up?"
    else:
        remedy = REMEDIES.get(state, "nothing half-written is left behind: run again; finished batches write nothing")
    kind = PreflightError if lost or state in ("42501", "42P01", "42703", "42704", "25006", "53300") else UsageJobsError
    return kind(f"{address!r} answered {state}: {text}. What to do: {remedy}")


@contextmanager
def name_refusals(table: str, kind: type[PreflightError] = PreflightError) -> Iterator[None]:
    """Wraps a write: where the table refuses it (constraint, trigger, too long a text), the error names the table.

    ``kind``: the class of the error; RefusedError for a table of the application, whose policies can refuse, too.
    """
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ""
        lacks_privilege = state == "42501" and kind is not RefusedError
        if is_transient(error) or lacks_privilege or not state.startswith(REFUSED_BY_TABLE):
            raise
        reason = " ".join(str(error.diag.message_primary).split())
        raise kind(
            f"{table}: expected a table that takes what the job writes; found that it refuses ({error.sqlstate}): "
            f"{reason}. Correct its constraint, column or trigger, then run again; nothing half-written is left behind"
        ) from error


@contextmanager
def deadline(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """Limits a wait that no timeout of the server covers: for a pooler, or for a network that drops packets.

    Raises UnreachableError when no byte was received or sent for ``seconds``; the connection is then lost.
    """
    over, expired = threading.Event(), threading.Event()
    place = f"{connection.info.host}:{connection.info.port}"

    def watch() -> None:
        left = seconds
        while not over.wait(left):
            left = seconds - seconds_silent(connection, unknown=seconds)
            if left <= 0:
                expired.set()  # before the waiting thread gets its error
                shutdown_socket(connection)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except psycopg.OperationalError as error:
        if not expired.is_set():
            raise
        raise UnreachableError(
            f"{place}: the pooler gave no server connection within {seconds:g} s: the pool is full, or the server "
            "behind it is down. See which clients use its connections (pg_stat_activity), enlarge the pool, or "
            "connect another way (SUPABASE_CONNECTION=session or direct)"
        ) from error
    finally:
        over.set()

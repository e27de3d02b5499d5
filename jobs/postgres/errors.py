"""What goes wrong between us and the server: what passes and is tried again, and what an operator is told."""

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
# Serialization, deadlock, lock timeout, an idle transaction ended, no connection left; an operator's intervention or
# the server going away (57), the connection lost (08): worth another try.
RETRIED = ("40001", "40P01", "55P03", "25P03", "53300", "57", "08")
RETRY_SECONDS = 120
"""So long after its first error something is tried again at most: a job that cannot work ends and says so."""
LOST = ("08", "57P")
"""The connection, or the server, went away."""

REFUSED_BY_TABLE = ("22", "23", "42", "0A", "2B", "P0")
"""Data, constraints, definitions, dependencies, and what a trigger raises."""

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
    """Whether another try may succeed: told by SQLSTATE; no SQLSTATE at all means the connection broke.

    An InternalError is one where a pooler has added its own last word to the server's: to the driver, two results.
    """
    if isinstance(error, UnreachableError):
        return True
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InternalError)
    return error.sqlstate.startswith(RETRIED)


def is_starting(error: psycopg.Error | UnreachableError) -> bool:
    """Whether the server starts, or stops: of a first connection nothing else is tried again, lest an account be
    locked, or a wrong address be waited for."""
    return isinstance(error, StartingError)


def retry(
    work: Callable[[], T],
    *,
    attempts: int = 5,
    pause: Callable[[float], None] = time.sleep,
    while_: Callable[[psycopg.Error | UnreachableError], bool] = is_transient,
) -> T:
    """``work()``, tried again with growing pauses while its error is one that passes; repeatable work only.

    At most ``attempts`` times, and no more once RETRY_SECONDS have passed since the first error.
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
    """A driver's error as one of ours, with a message that tells an operator what to do."""
    state = error.sqlstate or "no SQLSTATE"
    text = " ".join(address.scrubbed(str(error)).split())
    lost = is_transient(error) if error.sqlstate is None else error.sqlstate.startswith(LOST)
    if lost:
        remedy = "the connection was lost, and again when it was made anew: is the server (or its pooler) up?"
    else:
        remedy = REMEDIES.get(state, "nothing half-written is left behind: run again; finished batches write nothing")
    kind = PreflightError if lost or state in ("42501", "42P01", "42703", "42704", "25006", "53300") else UsageJobsError
    return kind(f"{address!r} answered {state}: {text}. What to do: {remedy}")


@contextmanager
def writing(table: str, kind: type[PreflightError] = PreflightError) -> Iterator[None]:
    """Around a write: what the table itself refuses (a check, a trigger, too long a text) is told by its name.

    ``kind``: of the error that is raised; RefusedError for a table of the application, whose policies refuse as well.
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
            f"{reason}. Mend its constraint, column or trigger, then run again; nothing half-written is left behind"
        ) from error


@contextmanager
def deadline(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """Bounds a wait that no server limit reaches: a pooler holds a statement back for as long as it likes, a network
    for ever. Raises UnreachableError when for so long nothing has come, or gone; the connection is lost then.
    """
    over, expired = threading.Event(), threading.Event()
    place = f"{connection.info.host}:{connection.info.port}"

    def watch() -> None:
        left = seconds
        while not over.wait(left):
            left = seconds - seconds_silent(connection, unknown=seconds)
            if left <= 0:
                expired.set()  # before who waits can notice
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
            "behind it is down. See who holds its connections (pg_stat_activity), enlarge the pool, or take another "
            "way (SUPABASE_CONNECTION=session or direct)"
        ) from error
    finally:
        over.set()

"""Errors of the database driver: the lists of SQLSTATEs, the retries, and the messages for an operator.

An entry of a list may be the beginning of SQLSTATEs, such as their class: the first two characters.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg

from jobs.domain.errors import PreflightError, RefusedError, UnreachableError, UsageJobsError
from jobs.postgres.conninfo import Address

T = TypeVar("T")
LOCK_ERRORS = ("55P03", "40P01")
"""Another transaction is in the way: lock timeout, deadlock."""
CONNECTION_LOST = ("08", "57P")
"""The connection is lost, or the server goes away."""
RETRIED = (*LOCK_ERRORS, *CONNECTION_LOST, "57", "40001", "25P03", "53300")
"""Worth a retry: also operator intervention, serialization failure, an idle transaction ended, no connection left."""
RETRIED_MESSAGES = re.compile(
    r"kind: (Closed|Io)\b|SqlState\(E(08|57|53300)|timed out waiting for connection|connection closed"
    r"|db error: FATAL\b|canceling statement due to|deadlock detected"
    "|error (communicating with|connecting to) (the )?server"
)
"""Messages of connectorx where a retry may succeed: it gives no SQLSTATE. Of some errors its driver names the beginning
of one: the RETRIED above, without the locks and the idle transaction, which have words of their own."""
REFUSED_AT_COMMIT = ("23", "P0")
"""A constraint or a trigger refuses a write; at COMMIT these are the deferred ones."""
REFUSED_BY_TABLE = (*REFUSED_AT_COMMIT, "22", "42", "0A", "2B")
"""A table refuses a write: also because of the data, its definition, or what depends on it."""
LACKS_PRIVILEGE = "42501"
BEFORE_WRITING = {
    LACKS_PRIVILEGE: "grant the missing privilege; `usage-jobs check` names each",
    "42P01": "run `usage-jobs check`; make the job's own tables with `usage-jobs schema --apply`",
    "42703": "run `usage-jobs check`; add columns of the job's own tables with `usage-jobs schema --apply`",
    "42704": "make what is missing first; the view for users needs Supabase's roles anon and authenticated",
    "25006": "the server is read-only (a replica, or a project whose disk is full): use the primary's address",
    "53300": "the server has no connection left: raise max_connections or close others, then run again",
}
"""Remedies of errors that are PreflightErrors (exit 5); those of other errors follow."""
REMEDIES = BEFORE_WRITING | {
    "53100": "the server's disk is full: make room, then run again",
    "57014": "a statement took longer than its limit: look for locks or a missing index (`usage-jobs check`)",
}
ATTEMPTS = 5
RETRY_SECONDS = 120
"""No retry later than this after the first error: a job that cannot work ends with an error."""


def is_transient(error: psycopg.Error | UnreachableError) -> bool:
    """Whether a retry may succeed, by SQLSTATE; without a SQLSTATE the connection broke.

    An InternalError means that a pooler added its own error to the server's: the driver sees two results.
    """
    if isinstance(error, UnreachableError):
        return True
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InternalError)
    return error.sqlstate.startswith(RETRIED)


def retry(
    work: Callable[[], T],
    *,
    pause: Callable[[float], None] = time.sleep,
    while_: Callable[[psycopg.Error | UnreachableError], bool] = is_transient,
) -> T:
    """Returns ``work()``, which must be repeatable; tries it up to ATTEMPTS times, with growing pauses.

    ``pause``: waits that many seconds; ``while_``: whether an error is retried.
    """
    failed: float | None = None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except (psycopg.Error, UnreachableError) as error:
            failed = failed or time.monotonic()
            if attempt == ATTEMPTS or not while_(error) or time.monotonic() - failed > RETRY_SECONDS:
                raise
            pause(random.uniform(0.5, 1) * 0.2 * 2**attempt)  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable")


def translate_error(error: psycopg.Error, address: Address) -> UsageJobsError:
    """Returns a driver's error as one of ours, with a message that says what to do."""
    state = error.sqlstate or "no SQLSTATE"
    text = " ".join(address.hide_password(str(error)).split())
    if is_lost := is_transient(error) if error.sqlstate is None else state.startswith(CONNECTION_LOST):
        remedy = "the connection was lost, and lost again after a reconnect: is the server (or its pooler) up?"
    else:
        remedy = REMEDIES.get(state, "nothing half-written is left behind: run again; finished batches write nothing")
    kind = PreflightError if is_lost or state in BEFORE_WRITING else UsageJobsError
    return kind(f"{address!r} answered {state}: {text}. What to do: {remedy}")


@contextmanager
def name_refusals(table: str, kind: type[UsageJobsError] = PreflightError) -> Iterator[None]:
    """Wraps a write: where the table refuses it (constraint, trigger, too long a text), the error names the table.

    ``kind``: the class of the error; RefusedError for a table of the application, whose policies can refuse, too.
    """
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ""
        is_denied = state == LACKS_PRIVILEGE and kind is not RefusedError
        if is_transient(error) or is_denied or not state.startswith(REFUSED_BY_TABLE):
            raise
        reason = " ".join(str(error.diag.message_primary).split())
        raise kind(
            f"{table}: expected a table that takes what the job writes; found that it refuses ({error.sqlstate}): "
            f"{reason}. Correct its constraint, column or trigger, then run again; nothing half-written is left behind"
        ) from error

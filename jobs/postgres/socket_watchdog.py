"""Hangs up on a peer that accepts our bytes and never answers.

Keepalives detect a network that drops packets. But a pooler that hangs, or a proxy that has lost its server connection,
still acknowledges packets, and no timeout of the server applies. The driver waits without an end.
"""

import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from os import dup
from typing import Any

import psycopg
from psycopg.abc import PQGen

from jobs.domain.errors import UnreachableError

LOOK_SECONDS = 0.1


class WatchedConnection(psycopg.Connection[Any]):
    """A connection that is lost when it has waited for ``limit`` seconds without a byte sent or received."""

    limit: float = 16 * 60  # more than the 15 minutes after which the server ends a statement
    is_silent = False

    def wait(self, gen: PQGen[Any], *_: Any, **__: Any) -> Any:
        """The driver's wait, which every statement and every row of COPY passes."""
        try:
            awaited = next(gen)
        except StopIteration as finished:
            return finished.value  # nothing to wait for: the next row of COPY was there
        return super().wait(self._watch(gen, awaited), LOOK_SECONDS)

    def _watch(self, gen: PQGen[Any], awaited: Any) -> Generator[Any, Any, Any]:
        # Waits are counted, and not seconds of a clock: a process that was stopped has not waited meanwhile.
        seconds = 0.0
        while True:
            ready = yield awaited
            seconds = 0.0 if ready else seconds + LOOK_SECONDS
            if seconds > self.limit:
                self.is_silent = True
                shutdown_socket(self)
            try:
                awaited = gen.send(ready)
            except StopIteration as finished:
                return finished.value


@contextmanager
def deadline(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """Limits a wait that should be short: for a pooler, or for a network that drops packets.

    Raises UnreachableError when no byte was received or sent for ``seconds``; the connection is then lost.
    """
    assert isinstance(connection, WatchedConnection)  # noqa: S101 - connections.connect makes no other
    place = f"{connection.info.host}:{connection.info.port}"
    connection.limit = seconds
    try:
        yield
    except psycopg.OperationalError as error:
        if not connection.is_silent:
            raise
        raise UnreachableError(
            f"{place}: the pooler gave no server connection within {seconds:g} s: the pool is full, or the server "
            "behind it is down. See which clients use its connections (pg_stat_activity), enlarge the pool, or "
            "connect another way (SUPABASE_CONNECTION=session or direct)"
        ) from error
    finally:
        connection.limit = WatchedConnection.limit


def shutdown_socket(connection: psycopg.Connection[Any]) -> None:
    """Shuts the socket of a connection, also from another thread: a waiting thread gets an error, and the connection is
    lost."""
    # Not close(), which the waiting thread must call. On a duplicate: the descriptor may be reused by now.
    with suppress(OSError, psycopg.Error), socket.socket(fileno=dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)

"""Shuts connections whose peer accepts our bytes and never answers.

Keepalives detect a network that drops packets. But a pooler that hangs, or a proxy that has lost its server connection,
still acknowledges packets, and no timeout of the server applies. ``deadline`` limits a wait that should be short,
``watch_socket`` every other.
"""

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import dup
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from jobs.domain.errors import UnreachableError

LIMIT_SECONDS = 16 * 60
"""More than the 15 minutes after which the server ends a statement."""
LOOK_SECONDS = 30
_BEFORE_SENT = 8 + 4 * 9
"""Offset in Linux's struct tcp_info of the milliseconds since data was last sent; after one more word follow the
milliseconds since data was last received (linux/tcp.h)."""


def watch_socket(connection: Callable[[], psycopg.Connection[Any]], over: threading.Event) -> None:
    """Shuts the socket of a connection that has waited for an answer for LIMIT_SECONDS without a byte sent or received.
    Runs until ``over``."""
    while not over.wait(LOOK_SECONDS):
        waiting = connection()
        is_waiting = not waiting.closed and waiting.pgconn.transaction_status == TransactionStatus.ACTIVE
        if is_waiting and seconds_silent(waiting, unknown=0) > LIMIT_SECONDS:
            shutdown_socket(waiting)


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


def shutdown_socket(connection: psycopg.Connection[Any]) -> None:
    """Shuts the socket of a connection from another thread: a waiting thread gets an error, and the connection is
    lost."""
    # Not close(), which the waiting thread must call. On a duplicate: the descriptor may be reused by now.
    with suppress(OSError, psycopg.Error), socket.socket(fileno=dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def seconds_silent(connection: psycopg.Connection[Any], *, unknown: float) -> float:
    """Returns the seconds since the last byte was sent or received; 0 where received bytes wait to be read.

    ``unknown``: the result where the kernel does not know (no Linux, no TCP), or the connection is closed.
    """
    with suppress(OSError, AttributeError, psycopg.Error), socket.socket(fileno=dup(connection.fileno())) as wire:
        incoming = select.poll()
        incoming.register(wire, select.POLLIN)
        if incoming.poll(0):
            return 0
        info = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        milliseconds: tuple[int, int, int] = struct.unpack_from("3I", info, _BEFORE_SENT)
        return min(milliseconds[0], milliseconds[2]) / 1000
    return unknown

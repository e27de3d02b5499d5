"""Connections on which nothing moves any more: the last resort where a peer takes our bytes and never answers.

Keepalives notice a network that swallows packets, the guard's pings a way that is dead for a run. A pooler that hangs,
or a proxy that has forgotten its other side, still acknowledges what it is sent: no limit of the server's reaches it.
"""

import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from os import dup
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

LIMIT_SECONDS = 16 * 60
"""The server ends a statement after 15 minutes: by then it has answered."""
LOOK_SECONDS = 30
_BEFORE_SENT = 8 + 4 * 9
"""Bytes of Linux's struct tcp_info before the milliseconds since data was last sent; one word lies between these and
the milliseconds since some was last received (linux/tcp.h)."""


def watch_socket(connection: Callable[[], psycopg.Connection[Any]], over: threading.Event) -> None:
    """Until it is over, hangs up on a connection that has waited for an answer for LIMIT_SECONDS without a byte either
    way."""
    while not over.wait(LOOK_SECONDS):
        waiting = connection()
        if _waits(waiting) and seconds_silent(waiting, unknown=0) > LIMIT_SECONDS:
            shutdown_socket(waiting)


def _waits(connection: psycopg.Connection[Any]) -> bool:
    return not connection.closed and connection.pgconn.transaction_status == TransactionStatus.ACTIVE


def shutdown_socket(connection: psycopg.Connection[Any]) -> None:
    """Ends whatever wait there is on a connection, from another thread: it is lost then."""
    # Not close(): that belongs to the thread that waits. Through a copy, for the number may be another's by then.
    with suppress(OSError, psycopg.Error), socket.socket(fileno=dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def seconds_silent(connection: psycopg.Connection[Any], *, unknown: float) -> float:
    """Since the last byte was sent or received; 0 where some wait to be read, by a thread that was held up.

    ``unknown``: where the kernel does not say (no Linux, no TCP), or the connection is gone.
    """
    with suppress(OSError, AttributeError, psycopg.Error), socket.socket(fileno=dup(connection.fileno())) as wire:
        incoming = select.poll()
        incoming.register(wire, select.POLLIN)
        if incoming.poll(0):
            return 0
        told = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        milliseconds: tuple[int, int, int] = struct.unpack_from("3I", told, _BEFORE_SENT)
        return min(milliseconds[0], milliseconds[2]) / 1000
    return unknown

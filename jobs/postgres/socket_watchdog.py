"""Shuts connections whose peer accepts our bytes and never answers.

Keepalives detect a network that drops packets, and the pings of the run lock detect an unreachable server. But a pooler
that hangs, or a proxy that has lost its server connection, still acknowledges packets, and no timeout of the server
applies: this module is the last resort.
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
        if _is_waiting(waiting) and seconds_silent(waiting, unknown=0) > LIMIT_SECONDS:
            shutdown_socket(waiting)


def _is_waiting(connection: psycopg.Connection[Any]) -> bool:
    return not connection.closed and connection.pgconn.transaction_status == TransactionStatus.ACTIVE


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

"""Connections on which nothing moves any more: the last resort where a peer takes our bytes and never answers.

Keepalives notice a network that swallows packets, the guard's pings a way that is dead for a run. A pooler that hangs,
or a proxy that has forgotten its other side, still acknowledges what it is sent: no limit of the server's reaches it.
"""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from os import dup
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from jobs.store.faults import hang_up

LIMIT_SECONDS = 16 * 60
"""The server ends a statement after 15 minutes: by then it has answered."""
LOOK_SECONDS = 30
_UNTIL_LAST_SENT = 8 + 4 * 9
"""Bytes of Linux's struct tcp_info before the milliseconds since data was last sent; two more words lie between these
and the milliseconds since some was last received (linux/tcp.h)."""


def watched(connection: Callable[[], psycopg.Connection[Any]], over: threading.Event) -> None:
    """Until it is over, hangs up on a connection that has waited for an answer for LIMIT_SECONDS without a byte either
    way."""
    while not over.wait(LOOK_SECONDS):
        waiting = connection()
        if _waits(waiting) and _seconds_still(waiting) > LIMIT_SECONDS:
            hang_up(waiting)


def _waits(connection: psycopg.Connection[Any]) -> bool:
    return not connection.closed and connection.pgconn.transaction_status == TransactionStatus.ACTIVE


def _seconds_still(connection: psycopg.Connection[Any]) -> float:
    """Since the last byte was sent or received; 0 where the kernel does not say (no Linux, no TCP)."""
    with suppress(OSError, AttributeError, psycopg.Error), socket.socket(fileno=dup(connection.fileno())) as wire:
        told = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        sent, _, received, _ = struct.unpack_from("4I", told, _UNTIL_LAST_SENT)
        return float(min(sent, received)) / 1000
    return 0

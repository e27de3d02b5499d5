"""Servers that are not PostgreSQL: they speak just enough of its protocol to be met by a client at start-up.

`Stranger` says one thing to whoever comes (an error of a pooler's, or nothing at all); `Door` lets clients through to
a real database under another name, as Supabase's poolers do. Both listen at loopback addresses of this process's own,
so that they can have the ports that people know (5432, 6543); libpq finds them by ``hostaddr``, whatever the host.
"""

import os
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from psycopg.conninfo import conninfo_to_dict

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
PROTOCOL = 196608
Client = socket.socket
Answer = Callable[[Client, Mapping[str, str]], None]
"""Called with a client that has sent its start-up message, and what that says (user, database …)."""


def address() -> str:
    """A loopback address of this process's own, which has every port free."""
    number = os.getpid() % 65_000 + 300
    return f"127.77.{number >> 8}.{number & 255}"


def addressable() -> bool:
    """Whether this system has more than one loopback address (Linux has)."""
    with suppress(OSError), socket.create_server((address(), 0)):
        return True
    return False


class Stranger:
    """A context manager; listens at ``address()`` (or ``host``) on a port, with TLS where a context is given."""

    def __init__(
        self, answer: Answer, port: int = 0, tls: ssl.SSLContext | None = None, host: str | None = None
    ) -> None:
        self._answer, self._tls = answer, tls
        family = socket.AF_INET6 if host and ":" in host else socket.AF_INET
        self._listener = socket.create_server((host or address(), port), family=family)
        self.port = int(self._listener.getsockname()[1])
        self.met: list[dict[str, str]] = []
        """What each client's start-up message said."""
        self._threads: list[threading.Thread] = []
        self._clients: list[socket.socket] = []
        self._over = False

    def __enter__(self) -> "Stranger":
        self._threads.append(threading.Thread(target=self._listen))
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        socket.create_connection(self._listener.getsockname()[:2]).close()  # wakes the listener
        self._threads[0].join()
        self._listener.close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _listen(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._over:
                client.close()
                return
            self._clients.append(client)
            self._threads.append(threading.Thread(target=self._meet, args=(client,)))
            self._threads[-1].start()

    def _meet(self, client: socket.socket) -> None:
        # A client that goes away in the middle, or that refuses our certificate, is what some tests are about.
        with suppress(OSError):
            greeted, said = self._greet(client)
            if said:
                self.met.append(said)
                self._answer(greeted, said)
            with suppress(OSError):
                greeted.shutdown(socket.SHUT_RDWR)
            greeted.close()
        client.close()

    def _greet(self, client: socket.socket) -> tuple[socket.socket, dict[str, str]]:
        while head := exactly(client, 8):
            length, code = struct.unpack("!II", head)
            body = exactly(client, length - 8)
            if code == PROTOCOL:
                words = body.decode().split("\0")
                return client, dict(zip(words[:-2:2], words[1:-2:2], strict=True))
            if code not in (SSL_REQUEST, GSS_REQUEST):
                break  # asks to cancel something: nothing is ever answered
            context = self._tls if code == SSL_REQUEST else None
            client.sendall(b"S" if context else b"N")
            if context:
                client = context.wrap_socket(client, server_side=True)
                self._clients.append(client)  # the socket that was accepted has handed everything over
        return client, {}


def exactly(client: socket.socket, size: int) -> bytes:
    """``size`` bytes; none at all where the client has gone."""
    found = b""
    while len(found) < size:
        block = client.recv(size - len(found))
        if not block:
            return b""
        found += block
    return found


def refusing(message: str, state: str = "XX000") -> Answer:
    """Says FATAL, as poolers do where PostgreSQL itself was never asked."""
    fields = f"SFATAL\0VFATAL\0C{state}\0M{message}\0\0".encode()
    return lambda client, _: client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)


def door(url: str) -> Answer:
    """Lets whoever comes through to the database of ``url`` as its user, as Supabase's poolers know users by others."""
    parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}

    def answer(client: socket.socket, said: Mapping[str, str]) -> None:
        changed = {**said, "user": parts["user"], "database": parts["dbname"]}
        words = "".join(f"{key}\0{value}\0" for key, value in changed.items()).encode() + b"\0"
        with socket.create_connection((parts["host"], int(parts["port"]))) as server:
            server.sendall(struct.pack("!II", len(words) + 8, PROTOCOL) + words)
            pump(client, server)

    return answer


def pump(client: socket.socket, server: socket.socket) -> None:
    """Carries what either side says to the other, until one has gone."""
    others = {client: server, server: client}
    for side in others:
        side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while True:
        # What TLS has already decrypted is no longer in the socket, and select knows nothing of it.
        waiting = isinstance(client, ssl.SSLSocket) and client.pending()
        for side in [client] if waiting else select.select(list(others), [], [])[0]:
            block = side.recv(1 << 16)
            if not block:
                return
            others[side].sendall(block)

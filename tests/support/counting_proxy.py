"""A TCP proxy on loopback before a PostgreSQL server that counts the bytes of both directions, and changes none."""

import select
import socket
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

BLOCK = 1 << 16


class CountingProxy:
    """A context manager; ``url`` is what the client should connect to."""

    def __init__(self, url: str) -> None:
        self._parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
        self._server = (self._parts.get("host", "127.0.0.1"), int(self._parts.get("port", "5432")))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._moved = 0
        self._threads = [threading.Thread(target=self._listen)]
        self._sockets: list[socket.socket] = []

    @property
    def url(self) -> str:
        user, password, database = (quote(self._parts.get(k, ""), safe="") for k in ("user", "password", "dbname"))
        return f"postgresql://{user}:{password}@127.0.0.1:{self._listener.getsockname()[1]}/{database}"

    def moved(self) -> int:
        """The bytes that have come through since this was last asked; ask when no client is connected any more."""
        with self._lock:
            found, self._moved = self._moved, 0
        return found

    def __enter__(self) -> "CountingProxy":
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(end)
            self._threads.append(threading.Thread(target=self._forward, args=(client, server)))
            self._threads[-1].start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        """Until either side hangs up."""
        other = {client: server, server: client}
        with client, server, suppress(OSError):
            while True:
                for side in select.select([client, server], [], [])[0]:
                    block = side.recv(BLOCK)
                    if not block:
                        return
                    with self._lock:  # before it is passed on: who has the answer finds it counted
                        self._moved += len(block)
                    other[side].sendall(block)

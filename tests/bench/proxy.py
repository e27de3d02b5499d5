"""A TCP proxy on loopback that counts the bytes between a program and the database server.

The counted pass of a contender is never timed: Python moves each byte once more, on the same cores.
"""

import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock, Thread
from urllib.parse import urlsplit

BLOCK = 2**18


@dataclass(slots=True)
class Traffic:
    """``url``: the same database by way of the proxy. ``to_client``, ``to_server``: bytes of finished connections."""

    url: str
    to_client: int = 0
    to_server: int = 0


@contextmanager
def counting(url: str) -> Iterator[Traffic]:
    """A proxy to the server of ``url``, without TLS; the counts are whole when the block has ended."""
    parts = urlsplit(url)
    with _Proxy(("127.0.0.1", 0), _Connection) as proxy:
        login = parts.netloc.rpartition("@")[0]
        proxy.server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        proxy.traffic = Traffic(parts._replace(netloc=f"{login}@127.0.0.1:{proxy.server_address[1]}").geturl())
        accepting = Thread(target=proxy.serve_forever)
        accepting.start()
        try:
            yield proxy.traffic
        finally:
            proxy.shutdown()
            accepting.join()


class _Proxy(socketserver.ThreadingTCPServer):
    """Closing it waits for the threads of its connections, which end when the program has hung up."""

    daemon_threads = False
    server: tuple[str, int]
    traffic: Traffic
    lock = Lock()


class _Connection(socketserver.BaseRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        with socket.create_connection(self.server.server) as database:
            for side in (database, self.request):  # as libpq does: small messages must not wait for each other
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = Thread(target=self._count_answers, args=(database,))
            answers.start()
            sent = _moved(self.request, database)
            answers.join()
        with self.server.lock:
            self.server.traffic.to_server += sent

    def _count_answers(self, database: socket.socket) -> None:
        received = _moved(database, self.request)
        with self.server.lock:
            self.server.traffic.to_client += received


def _moved(source: socket.socket, target: socket.socket) -> int:
    """Hands on what ``source`` says until it hangs up, then hangs up on ``target``; how many bytes there were."""
    count, space = 0, memoryview(bytearray(BLOCK))
    with suppress(OSError):  # one side is gone: so is the other, now
        while size := source.recv_into(space):
            target.sendall(space[:size])
            count += size
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    return count

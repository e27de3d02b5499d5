"""The daemon's small HTTP endpoint: /healthz for probes, /metrics for Prometheus."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jobs.domain.errors import ConfigError

LOOPBACK = "127.0.0.1"


@dataclass(slots=True)
class Health:
    """What /healthz says; the main thread replaces it as a whole, so that no answer is half of each."""

    told: dict[str, Any] = field(default_factory=lambda: {"status": "starting"})

    @property
    def code(self) -> int:
        """503 while the last try of something failed, or a person has to look: an invariant is broken, or a closed
        month has changed."""
        return 200 if self.told["status"] in ("starting", "ok") else 503


@contextmanager
def listening(listen: str, health: Health, metrics: Callable[[], bytes]) -> Iterator[None]:
    """Answers on ``listen`` (host:port; empty: not at all) as long as the block lasts. Raises ConfigError."""
    if not listen:
        yield
        return
    try:
        server = _server(listen, _handler(health, metrics))
    except (OSError, OverflowError, ValueError) as error:
        raise ConfigError(
            f"schedule.listen = {listen!r}: expected HOST:PORT that nobody listens on (an IPv6 host in [ ]), or an "
            f"empty text; found: {error}"
        ) from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _server(listen: str, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Bound to ``listen``; without a host to this machine only. Raises OSError, OverflowError or ValueError."""
    host, _, port = listen.rpartition(":")
    if host[:1] + host[-1:] == "[]":
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 host without [ ]")
    found = socket.getaddrinfo(host or LOOPBACK, None, type=socket.SOCK_STREAM)
    # A name such as localhost may have both; probes ask for IPv4.
    family, *_, place = min(found, key=lambda each: each[0] != socket.AF_INET)

    class Server(ThreadingHTTPServer):
        address_family = family

    return Server((str(place[0]), int(port)), handler)


def _handler(health: Health, metrics: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # a client that asks nothing holds a thread no longer

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(health.code, "application/json", json.dumps(health.told).encode())
            elif self.path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics())
            else:
                self._answer(404, "text/plain", b"expected /healthz or /metrics\n")

        def _answer(self, code: int, kind: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: a probe every ten seconds is no event."""

    return Handler

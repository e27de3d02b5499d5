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
    """The answer of /healthz. The main thread replaces it as a whole, so that no request sees a partial update."""

    answer: dict[str, Any] = field(default_factory=lambda: {"status": "starting"})

    @property
    def code(self) -> int:
        """The HTTP status: 503 if the last attempt failed, an invariant is broken, or a closed month has changed."""
        return 200 if self.answer["status"] in ("starting", "ok") else 503


@contextmanager
def serve_health(listen: str, health: Health, metrics: Callable[[], bytes]) -> Iterator[None]:
    """Answers HTTP requests on ``listen`` while the block runs.

    ``listen``: HOST:PORT; empty: no endpoint. ``metrics``: returns the text of /metrics. Raises ConfigError if it
    cannot listen there.
    """
    if not listen:
        yield
        return
    try:
        server = _make_server(listen, _make_handler(health, metrics))
    except (OSError, OverflowError, ValueError) as error:
        raise ConfigError(
            f"schedule.listen = {listen!r}: expected a HOST:PORT that is free (an IPv6 host in [ ]), or an empty text; "
            f"found: {error}"
        ) from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _make_server(listen: str, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """A server bound to ``listen``; without a host, to loopback. Raises OSError, OverflowError or ValueError."""
    host, _, port = listen.rpartition(":")
    if host[:1] + host[-1:] == "[]":
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 host without [ ]")
    found = socket.getaddrinfo(host or LOOPBACK, None, type=socket.SOCK_STREAM)
    # A name such as localhost may have IPv4 and IPv6 addresses; probes use IPv4.
    family, *_, place = min(found, key=lambda each: each[0] != socket.AF_INET)

    class Server(ThreadingHTTPServer):
        address_family = family

    return Server((str(place[0]), int(port)), handler)


def _make_handler(health: Health, metrics: Callable[[], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds; ends the thread of a client that sends no request

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer(health.code, "application/json", json.dumps(health.answer).encode())
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
            """Logs nothing: probes would fill the log."""

    return Handler

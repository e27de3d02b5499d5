"""A proxy between a client and a PostgreSQL server that stops before each statement and asks what to do.

It knows just enough of the protocol to see where a statement begins: a simple Query, or the Parse that begins an
extended one; everything else (passwords, COPY data) flows through. So a test can kill, cut or interfere at a named
statement of a real run, instead of hoping that a random moment hits it. Nothing here waits by the clock.

The guard's pings pass unseen: how many there are depends on the clock.
"""

import select
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from jobs.postgres.run_lock import PING

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
BLOCK = 1 << 16


class Verdict(Enum):
    """What becomes of a statement: it passes; the connection is cut before the server sees it; or the server
    carries it out, and the connection is cut before any of the answer reaches the client."""

    PASS = auto()
    CUT = auto()
    LOSE = auto()


@dataclass(frozen=True)
class Then:
    """The statement passes; ``act`` is called when the server has carried it out, before the client hears of it."""

    act: Callable[[], object]


@dataclass(frozen=True)
class Statement:
    """A statement about to be forwarded: the how-manieth of which connection (both from 0), and its text."""

    connection: int
    ordinal: int
    text: str


Hook = Callable[[Statement], Verdict | Then]
"""Called in the thread of the statement's connection, which rests meanwhile; other connections go on."""


class Wire:
    """A context manager; ``url`` is what the client should connect to. An error in the hook is raised at the end."""

    def __init__(self, url: str, hook: Hook) -> None:
        self._parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
        self._hook = hook
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listening = threading.Thread(target=self._listen)
        self._sessions: list[_Session] = []
        self._unheard: list[socket.socket] = []
        self._hole = self._over = False

    @property
    def url(self) -> str:
        user, password, database = (quote(self._parts.get(k, ""), safe="") for k in ("user", "password", "dbname"))
        login = f"{user}:{password}" if password else user
        return f"postgresql://{login}@127.0.0.1:{self._listener.getsockname()[1]}/{database}"

    def swallow(self) -> None:
        """From now on nothing comes through, not even that one side hangs up: a network that drops every packet."""
        self._hole = True
        for session in self._sessions:
            session.deaf = True

    def heal(self) -> None:
        """New connections come through; those that were open stay as they are, and neither side is told."""
        self._hole = False

    def hang_up(self) -> None:
        """Both sides of everything that was open, swallowed or not, find that the other is gone."""
        for session in self._sessions:
            session.end()

    def __enter__(self) -> "Wire":
        self._listening.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        socket.create_connection(self._listener.getsockname()).close()  # wakes the listener
        self._listening.join()
        self._listener.close()
        self.hang_up()
        for client in self._unheard:
            client.close()
        for session in self._sessions:
            if session.error is not None:
                raise session.error

    def _listen(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._over:
                client.close()
                return
            if self._hole:
                self._unheard.append(client)
                continue
            try:
                server = connected(self._parts)
            except ConnectionRefusedError:  # the server is down: so is whoever speaks for it
                client.close()
                continue
            for side in (client, server):
                if side.family != socket.AF_UNIX:  # as libpq does: small messages must not wait for each other
                    side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sessions.append(_Session(len(self._sessions), client, server, self._hook))


def connected(parts: dict[str, str]) -> socket.socket:
    """A socket to the server that an address names, as libpq would find it: a host that is a path is a directory."""
    host, port = parts.get("host", "127.0.0.1"), parts.get("port", "5432")
    if not host.startswith("/"):
        return socket.create_connection((host, int(port)))
    server = socket.socket(socket.AF_UNIX)
    server.connect(str(Path(host) / f".s.PGSQL.{port}"))
    return server


class _Session:
    """One connection of the client's and its counterpart to the server, served by one thread until either ends."""

    def __init__(self, number: int, client: socket.socket, server: socket.socket, hook: Hook) -> None:
        self.error: BaseException | None = None
        self.deaf = False
        self._number, self._client, self._server, self._hook = number, client, server, hook
        self._ordinal = 0
        self._losing = False
        self._then: Then | None = None
        self._held, self._unread = bytearray(), bytearray()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Hangs up on both sides, and returns when the thread has ended."""
        for side in (self._client, self._server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _run(self) -> None:
        with self._client, self._server:
            try:
                self._greet()
                while not self.deaf and self._step():
                    pass
                if self.deaf:
                    self._swallow()
            except OSError:
                pass  # one side is gone: so is the other, now
            except BaseException as error:  # the hook's: an assertion of the test's, mostly
                self.error = error

    def _greet(self) -> None:
        """The first message has no type; offers to encrypt are declined, which libpq takes where nothing demands it."""
        while True:
            head = self._exactly(8)
            length, code = struct.unpack("!II", head)
            body = self._exactly(length - len(head))
            if code not in (SSL_REQUEST, GSS_REQUEST):
                self._server.sendall(head + body)
                return
            self._client.sendall(b"N")

    def _step(self) -> bool:
        """Moves a block from the server, or else a message from the client; False when the connection is over."""
        ready, _, _ = select.select([self._client, self._server], [], [])
        if self.deaf:
            return False
        if self._server in ready:
            return self._to_client(self._server.recv(BLOCK))
        head = self._exactly(5)
        message = head + self._exactly(struct.unpack("!I", head[1:])[0] - 4)
        verdict = self._asked(message) if head[:1] in (b"Q", b"P") else Verdict.PASS
        if verdict is Verdict.CUT:
            return False
        self._losing |= verdict is Verdict.LOSE
        self._then = verdict if isinstance(verdict, Then) else self._then
        if not self.deaf:
            self._server.sendall(message)
        return True

    def _to_client(self, block: bytes) -> bool:
        if not self._losing and self._then is None:
            self._client.sendall(block)
            return bool(block)
        self._held += block
        if not block or not self._answered(block):
            return bool(block)
        if self._losing:
            return False
        then, held = self._then, bytes(self._held)
        self._then = None
        self._held.clear()
        self._unread.clear()
        if then is not None:
            then.act()
        if not self.deaf:
            self._client.sendall(held)
        return True

    def _swallow(self) -> None:
        """Takes what both sides say, until both have hung up."""
        sides = [self._client, self._server]
        while sides:
            for side in select.select(sides, [], [])[0]:
                with suppress(OSError):
                    if side.recv(BLOCK):
                        continue
                sides.remove(side)

    def _asked(self, message: bytes) -> Verdict | Then:
        # Query: the text; Parse: the name of the prepared statement, the text, the types. Each text ends in a 0.
        text = message[5:].split(b"\0")[0 if message[:1] == b"Q" else 1].decode()
        if text == PING:
            return Verdict.PASS
        statement = Statement(self._number, self._ordinal, text)
        self._ordinal += 1
        return self._hook(statement)

    def _answered(self, block: bytes) -> bool:
        """Whether the server has said ReadyForQuery, or that it waits for COPY data: it has done what it was told."""
        self._unread += block
        while len(self._unread) >= 5:
            if self._unread[0] in b"ZG":
                return True
            size = 1 + struct.unpack("!I", self._unread[1:5])[0]
            if len(self._unread) < size:
                return False
            del self._unread[:size]
        return False

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            block = self._client.recv(min(size - len(found), BLOCK))
            if not block:
                raise ConnectionResetError
            found += block
        return bytes(found)

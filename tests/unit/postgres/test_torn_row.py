"""A pooler whose server dies in the middle of a row writes its own last words into it: what then looks like a row, as
long as the protocol said it would be, is none.
"""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from commands import ask
from psycopg import sql
from wire import connected

from jobs.postgres.connections import connect, read_csv_blocks
from jobs.postgres.conninfo import Address

LAST_WORDS = b"SFATAL\0C08P01\0Mserver conn crashed?\0\0"
"""PgBouncer's, in an ErrorResponse."""


@contextmanager
def tearing(url: str, row: int) -> Iterator[str]:
    """The address of a proxy that treats the COPY of its one client so: of a row, the last bytes are an error's."""
    parts = psycopg.conninfo.conninfo_to_dict(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_torn, args=(listener, {k: str(v) for k, v in parts.items()}, row))
        thread.start()
        login = urlsplit(url).netloc.rpartition("@")[0]
        netloc = f"{login}@127.0.0.1:{listener.getsockname()[1]}"
        yield urlsplit(url)._replace(netloc=netloc, query="sslmode=disable&gssencmode=disable").geturl()
        thread.join()


def _torn(listener: socket.socket, parts: dict[str, str], row: int) -> None:
    client, _ = listener.accept()
    with closing(client), closing(connected(parts)) as server:
        upward = threading.Thread(target=_forward, args=(client, server))
        upward.start()
        with server.makefile("rb") as answers:
            rows = 0
            while head := answers.read(5):
                body = answers.read(struct.unpack("!I", head[1:])[0] - 4)
                rows += head[:1] == b"d"
                if rows == row:
                    error = b"E" + struct.pack("!I", len(LAST_WORDS) + 4) + LAST_WORDS
                    client.sendall(head + body[: -len(error) // 2] + error)
                    break
                client.sendall(head + body)
        for side in (client, server):
            side.shutdown(socket.SHUT_RDWR)
        upward.join()


def _forward(source: socket.socket, target: socket.socket) -> None:
    try:
        while block := source.recv(1 << 16):
            target.sendall(block)
    except OSError:
        pass  # the other side is gone


@pytest.mark.parametrize("row", [1, 2, 5])
def test_what_stands_in_a_torn_row_is_never_handed_on(database: str, row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is a block of its own here: the worst case."""
    monkeypatch.setattr("jobs.postgres.connections.BLOCK", 1)
    ask(database, "CREATE TABLE t AS SELECT n, repeat('x', 200) AS text FROM generate_series(1, 9) AS n")
    query = sql.SQL("SELECT n, text FROM t ORDER BY n")
    seen: list[bytes] = []
    with tearing(database, row) as url, connect(Address(url)) as connection:
        with pytest.raises(psycopg.OperationalError):
            seen.extend(block.getvalue() for block in read_csv_blocks(connection, query))
        assert connection.closed
    assert seen == [b"%d,%s\n" % (n, b"x" * 200) for n in range(1, row)]

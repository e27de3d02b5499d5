"""The floor: the bytes alone. Raw binary COPY of what must be read, thrown away, and COPY in of what must be written.

    PYTHONPATH=tests python -m bench.floor URL --first 2026-06-01 --last 2026-06-30 [--connections 2] [--write DIR]

The days are split between the connections. What arrives is taken from the socket in large blocks and not looked at:
the driver's own calls, one per row, would cost three times as much. What is written are the rows that a first run must
write (see payload.py), into temporary tables, which no log and no disk slow down.
"""

import os
import select
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg

from bench.arguments import program
from bench.payload import PARTS, days_of, none_of

READ = (
    "COPY (SELECT id, user_id, date, hopsworks_cluster_id, cpu_hours, gpu_hours, storage_gb, feature_store_api_calls, "
    "model_inference_calls, total_cost, credits_deducted FROM usage_daily WHERE date BETWEEN '{}' AND '{}') "
    "TO STDOUT (FORMAT binary)"
)
BLOCK = 2**18
COPY_OUT = b"H"
"""What the first message of an answer begins with, unless it is an error."""
READY = b"Z\0\0\0\5"
"""How the server's last message begins, one byte before its end: ready for the next query."""


def main() -> None:
    words = program(__doc__ or "")
    words.add_argument("--connections", type=int, default=2)
    words.add_argument("--write", type=Path, help="the folder of what is to be written, made for as many connections")
    given = words.parse_args()
    spans = days_of(given.first, given.last, given.connections)

    def work(number: int) -> int:
        arrived = thrown_away(given.url, READ.format(*spans[number]))
        if given.write is not None:
            write(given.url, given.write, number)
        return arrived

    with ThreadPoolExecutor(given.connections) as pool:
        print(f"{sum(pool.map(work, range(given.connections))):,} bytes")


def thrown_away(url: str, query: str) -> int:
    """Sends a query and takes the bytes of the answer, past the driver; how many there were. Without TLS only.

    Threads do so side by side: reading from a socket, Python lets go of its lock.
    """
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.pgconn.send_query(query.encode())
        while connection.pgconn.flush():
            pass
        socket, space, arrived, end = connection.pgconn.socket, bytearray(BLOCK), 0, b""
        waiting = select.poll()
        waiting.register(socket, select.POLLIN)
        while end[:5] != READY:
            waiting.poll()
            size = os.readv(socket, [space])
            if not arrived and space[:1] != COPY_OUT:
                raise SystemExit(space[:size].decode(errors="replace") or "the server has gone away")
            arrived += size
            end = (end + space[max(0, size - 6) : size])[-6:]
    return arrived


def write(url: str, folder: Path, number: int) -> None:
    """COPY of files that hold what COPY gave, in one transaction."""
    with psycopg.connect(url) as connection:
        for name, query in PARTS.items():
            connection.execute(f"CREATE TEMP TABLE written_{name} AS {none_of(query)}".encode())
            text = f"COPY written_{name} FROM STDIN (FORMAT binary)"
            with (folder / f"{name}.{number}").open("rb") as file, connection.cursor().copy(text.encode()) as copy:
                while block := file.read(BLOCK):
                    copy.write(block)


if __name__ == "__main__":
    main()

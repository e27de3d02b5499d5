"""Other clients of a pool: they work all the time, and look at the session that each transaction of theirs gets.

A transaction pooler hands one server connection from client to client. Whatever one of them leaves there that outlives
its transaction is the next one's: a setting, a lock, a temporary table, a prepared statement, a cursor, a subscription.
"""

import multiprocessing
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import psycopg

SESSION = """
SELECT 'setting ' || name || ' = ' || setting FROM pg_settings
  WHERE source = 'session' AND name <> ALL(%(tracked)s)
UNION ALL SELECT 'setting ' || name || ' = ' || setting FROM pg_settings
  WHERE (name, setting) IN (('transaction_read_only', 'on'), ('transaction_deferrable', 'on'))
    OR name = 'transaction_isolation' AND setting <> 'read committed'
UNION ALL SELECT 'role ' || current_user WHERE current_user <> session_user
UNION ALL SELECT 'advisory lock ' || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
UNION ALL SELECT 'prepared statement ' || name FROM pg_prepared_statements
UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE name <> ''
UNION ALL SELECT 'channel ' || channel FROM pg_listening_channels() AS channel
"""
"""One row for each thing that somebody left behind."""

TRACKED = ["application_name", "client_encoding", "transaction_isolation", "transaction_read_only"]
"""Every client's own: PgBouncer sets the first two anew for whom it serves, and the others are told apart above."""

BREATH = 0.01
"""Seconds between two transactions of a neighbour: eight that never draw breath have both cores for themselves."""
OWN = "CREATE TABLE IF NOT EXISTS neighbours (who int PRIMARY KEY, transactions bigint NOT NULL)"
WORK = """
INSERT INTO neighbours VALUES (%s, 1) ON CONFLICT (who) DO UPDATE SET transactions = neighbours.transactions + 1
"""


def left_behind(connection: psycopg.Connection[Any]) -> list[str]:
    """What somebody left in the session that the current transaction was given; nothing else may have been asked."""
    return sorted(row[0] for row in connection.execute(SESSION, {"tracked": TRACKED}))


@dataclass
class Seen:
    """What the neighbours saw: transactions by neighbour, server processes, what was left behind and how often, and
    errors (of which there should be none)."""

    transactions: Counter[int] = field(default_factory=Counter)
    servers: set[int] = field(default_factory=set)
    leaks: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)


@contextmanager
def neighbours(url: str, size: int) -> Iterator[list[Seen]]:
    """So many clients, in a process of their own, at work as long as the block lasts; the list is filled at its end."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_street, args=(theirs, url, size), daemon=True)
    process.start()
    theirs.close()
    assert ours.recv() == "at work"
    found: list[Seen] = []
    try:
        yield found
    finally:
        ours.send("enough")
        found.append(ours.recv())
        process.join()


def _street(pipe: Connection, url: str, size: int) -> None:
    enough, all_in = threading.Event(), threading.Barrier(size + 1)
    seen = [Seen() for _ in range(size)]
    threads = [threading.Thread(target=_live, args=(n, url, enough, all_in, seen[n])) for n in range(size)]
    for thread in threads:
        thread.start()
    with suppress(threading.BrokenBarrierError):
        all_in.wait()
    pipe.send("at work")
    pipe.recv()
    enough.set()
    for thread in threads:
        thread.join()
    whole = Seen()
    for one in seen:
        whole.transactions += one.transactions
        whole.servers |= one.servers
        whole.leaks += one.leaks
        whole.errors += one.errors
    pipe.send(whole)


def _live(number: int, url: str, enough: threading.Event, all_in: threading.Barrier, seen: Seen) -> None:
    """Transaction after transaction, every hundred of them on a new connection."""
    try:
        while not enough.is_set():
            with psycopg.connect(url, prepare_threshold=None) as connection:
                for _ in range(100):
                    if enough.is_set():
                        break
                    _transaction(connection, number, seen)
                    enough.wait(BREATH)
                    if sum(seen.transactions.values()) == 1:
                        all_in.wait()
    except psycopg.Error as error:
        seen.errors.append(f"{type(error).__name__}: {error}")
        all_in.abort()


def _transaction(connection: psycopg.Connection, number: int, seen: Seen) -> None:
    seen.leaks.update(left_behind(connection))
    seen.servers.update(row[0] for row in connection.execute("SELECT pg_backend_pid()"))
    connection.execute(WORK, [number])
    seen.transactions[number] += 1
    # Both ends of a transaction give the server back.
    connection.rollback() if seen.transactions[number] % 4 == 0 else connection.commit()

"""Where a campaign takes place: a PostgreSQL of its own, and a PgBouncer before it, which both can be struck down."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pooler
import psycopg
from commands import ask
from conftest import SETTINGS, Databases
from killing import cloned, named
from plays import Play, plays
from pooler import Pooler
from psycopg import sql

from jobs.demo.server import run_server

DURABLE = SETTINGS | {"synchronous_commit": "on"}
"""What was committed stands after a crash of the server; a crash of the machine is not tried."""
POOL_SIZE = 4


@dataclass
class Field:
    """``url``: of the server's database postgres."""

    directory: Path
    url: str
    pool: Pooler
    plays: list[Play]

    def copy(self, play: Play) -> str:
        return cloned(self, named(play.url))

    def drop(self, url: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(named(url))))

    def crash(self) -> None:
        """SIGQUIT, which pg_ctl calls immediate: nobody is told, and nothing is written."""
        pid = int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
        gone = os.pidfd_open(pid)
        os.kill(pid, signal.SIGQUIT)
        select.select([gone], [], [])
        os.close(gone)

    def start(self) -> None:
        """Returns when the server answers again, recovered; the outer user keeps it alive."""
        with run_server(self.directory, settings=DURABLE) as url:
            assert url == self.url, "it should have come back on its port"

    def terminate(self, url: str, rng: Random) -> str:
        """Ends one session of a database at random; says what it did."""
        text = (
            "SELECT pid, state, left(query, 60) AS query FROM pg_stat_activity "
            "WHERE datname = %s AND backend_type = 'client backend' ORDER BY backend_start"
        )
        sessions = ask(self.url, text, named(url))
        if not sessions:
            return "nobody"
        one = rng.choice(sessions)
        ask(self.url, "SELECT pg_terminate_backend(%s)", one["pid"])
        return f"{one['state']}: {one['query']}"


@contextmanager
def field(directory: Path, workers: int) -> Iterator[Field]:
    with ExitStack() as stack:
        url = stack.enter_context(run_server(directory, settings=DURABLE))
        ask(url, f"ALTER ROLE postgres PASSWORD '{psycopg.conninfo.conninfo_to_dict(url)['password']}'")
        databases = Databases(url)
        made = plays(databases, workers)
        databases.close()
        pool = stack.enter_context(pooler.running(url, default_pool_size=POOL_SIZE))
        yield Field(directory, url, pool, made)

"""The server of the benchmark and its databases: one for each size, and copies of it that a contender may change."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from bench.contenders import HERE, job
from bench.sizes import Size
from jobs.demo.server import run_server

SETTINGS = {
    "shared_buffers": "1GB",
    # No checkpoint and no vacuum of the server's own in the middle of somebody's seconds: both are done before.
    "max_wal_size": "8GB",
    "min_wal_size": "4GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
}
"""Besides these the server's own defaults: durable, full page writes on."""


@dataclass(frozen=True, slots=True)
class Databases:
    """Databases on one server, by name; ``folder``: of the programs that fill them."""

    url: str
    folder: Path

    def named(self, name: str) -> str:
        """The URL of a database."""
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def of(self, size: Size) -> str:
        """The name of the database of a size, made if it is not there; nobody changes it."""
        words = ["--first", str(size.first), "--last", str(size.last), "--users", str(size.users)]
        env = os.environ | {"PYTHONPATH": str(HERE.parent)}

        def fill(fresh: str) -> None:
            self._do("CREATE DATABASE {}", fresh)
            subprocess.run([sys.executable, "-m", "bench.data", self.named(fresh), *words], env=env, check=True)
            job(self.named(fresh), size, self.folder, "schema", "--apply")

        return self.once(size.database, fill)

    def once(self, name: str, make: Callable[[str], None]) -> str:
        """``name``; if it is not there, ``make`` makes it under another one: only what is whole gets the name."""
        if not self._exists(name):
            fresh = f"{name}_new"
            self.drop(fresh)
            make(fresh)
            self._do("ALTER DATABASE {} RENAME TO {}", fresh, name)
        return name

    def copy(self, name: str, template: str) -> str:
        """The URL of a new copy of ``template``, on disk and with nothing of it in the server's memory."""
        self.drop(name)
        self._do("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, template)
        self.calm()
        return self.named(name)

    def vacuum(self, name: str) -> None:
        """What autovacuum would have done by the next night."""
        with psycopg.connect(self.named(name), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    def calm(self) -> None:
        """Everything on disk, so that nobody pays for the writes of who came before."""
        self._do("CHECKPOINT")

    def drop(self, name: str) -> None:
        self._do("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def version(self) -> str:
        with self._connected() as connection:
            row = connection.execute("SHOW server_version").fetchone()
        return "" if row is None else str(row[0])

    def _exists(self, name: str) -> bool:
        with self._connected() as connection:
            return connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount == 1

    def _do(self, text: str, *names: str) -> None:
        with self._connected() as connection:
            connection.execute(sql.SQL(text).format(*map(sql.Identifier, names)))

    def _connected(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url, autocommit=True)


@contextmanager
def serving(folder: Path) -> Iterator[Databases]:
    """A server in ``folder``, started for as long as it is needed."""
    with run_server(folder / "server", settings=SETTINGS) as url:
        yield Databases(url, folder)

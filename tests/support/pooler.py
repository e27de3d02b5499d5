"""PgBouncer in transaction mode before a server: what Supabase's port 6543 is, at its strictest.

No prepared statements (Debian's PgBouncer knows none), no startup parameter that it does not track, and a pool of two
connections to each database. Nothing here waits by the clock: its own words say when it is up.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.rows import dict_row

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = "no PgBouncer: apt-get install pgbouncer"


class Pooler:
    """A PgBouncer before the server of ``url``, whose user may also speak to its console; `running` makes one."""

    def __init__(self, url: str, folder: Path, **settings: object) -> None:
        self._parts = urlsplit(url)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._file = folder / "pgbouncer.ini"
        self._user = None if os.geteuid() else pwd.getpwnam("nobody")
        self._write(folder, settings)
        self.said: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._console: psycopg.Connection[dict[str, Any]] | None = None

    def url(self, url: str) -> str:
        """The address of the same database, by way of the pool."""
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@127.0.0.1:{self.port}").geturl()

    def start(self) -> None:
        """Returns when it listens: the port is the same each time."""
        self._process = subprocess.Popen(
            [PROGRAM or "pgbouncer", str(self._file)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            user=self._user.pw_uid if self._user else None,
            group=self._user.pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
        )
        up = threading.Event()
        # Somebody has to read what it says as long as it lives: a full pipe would stop it.
        threading.Thread(target=self._listen, args=(self._process, up), daemon=True).start()
        up.wait()
        if self._process.poll() is not None:
            raise RuntimeError("PgBouncer did not start:\n" + "\n".join(self.said[-10:]))

    def kill(self) -> None:
        """SIGKILL: its clients and its servers find their connections closed."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def ask(self, command: str) -> list[dict[str, Any]]:
        """What the console answers."""
        if self._console is None or self._console.closed:
            address = self.url(self._parts._replace(path="/pgbouncer").geturl())
            # The console knows nothing but plain queries.
            self._console = psycopg.connect(address, autocommit=True, row_factory=dict_row, prepare_threshold=None)
        cursor = self._console.execute(command.encode())
        return cursor.fetchall() if cursor.description else []

    def left(self, name: str) -> None:
        """The pool of a database goes at once, with all that are connected: the database looks as without a pooler.

        RECONNECT would be gentler, and takes a third of a second.
        """
        self.ask(f'KILL "{name}"')
        self.ask(f'RESUME "{name}"')

    def _end(self, number: signal.Signals) -> None:
        if self._console is not None:
            self._console.close()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait()

    def _listen(self, process: "subprocess.Popen[str]", up: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr as words:
            for line in words:
                self.said.append(line.rstrip())
                if "process up" in line:
                    up.set()
        process.wait()
        up.set()

    def _write(self, folder: Path, settings: dict[str, object]) -> None:
        user, password = (unquote(part or "") for part in (self._parts.username, self._parts.password))
        users = folder / "users.txt"
        users.write_text(f'"{user}" "{password}"\n')
        options: dict[str, object] = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256" if password else "trust",
            "auth_file": users,
            "admin_users": user,
            "pool_mode": "transaction",
            "default_pool_size": 2,
            "max_client_conn": 500,
            "server_login_retry": 1,
            "log_connections": 0,
            "log_disconnections": 0,
            "log_stats": 0,
        }
        lines = [f"{name} = {value}" for name, value in (options | settings).items()]
        server = f"* = host={self._parts.hostname} port={self._parts.port or 5432}"
        self._file.write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))
        if self._user:
            for path in (folder, users, self._file):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)


@contextmanager
def running(url: str, **settings: object) -> Iterator[Pooler]:
    """A PgBouncer for as long as the block lasts; ``settings`` are lines of its file."""
    with tempfile.TemporaryDirectory(prefix="usage-jobs-pooler-") as folder:
        pooler = Pooler(url, Path(folder), **settings)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.stop()

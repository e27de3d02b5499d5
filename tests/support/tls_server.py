"""A PostgreSQL of the system's that speaks TLS, which the embedded one does not; and a name to call it by."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDERS = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
PROGRAM = shutil.which("pg_ctl", path=os.pathsep.join([*FOLDERS, os.environ.get("PATH", "")]))
MISSING = "no PostgreSQL of the system's: apt-get install postgresql"


def other_name() -> tuple[str, str]:
    """A name of this machine's that only a resolver can tell from any other machine's, and its IPv4 address."""
    lines = [line.split("#")[0].split() for line in Path("/etc/hosts").read_text(encoding="utf-8").splitlines()]
    known = [name for line in lines if line for name in line[1:]]
    for name in (socket.gethostname(), *known):
        with suppress(OSError):
            address = socket.gethostbyname(name)
            socket.create_server((address, 0)).close()
            if not name.startswith("localhost"):
                return name, address
    return "localhost", "127.0.0.1"


class TlsServer:
    """One server on 127.0.0.1 and at `other_name`; without ``certificates`` (by file name) it speaks no TLS."""

    def __init__(self, folder: Path, certificates: Mapping[str, bytes]) -> None:
        self.data, self.password = folder / "data", secrets.token_urlsafe(12)
        # As root, PostgreSQL refuses to run.
        self._user = None if os.geteuid() else pwd.getpwnam("nobody")
        self._initialise(folder, certificates)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._tls = "on" if certificates else "off"

    def start(self) -> None:
        hosts = ",".join(dict.fromkeys(["127.0.0.1", other_name()[1]]))
        words = (
            f"-p {self.port} -c listen_addresses={hosts} -c unix_socket_directories= -c ssl={self._tls} -c fsync=off"
        )
        self._call("pg_ctl", "start", "-w", "-D", str(self.data), "-l", str(self.data / "log"), "-o", words)

    def stop(self) -> None:
        self._call("pg_ctl", "stop", "-w", "-D", str(self.data), "-m", "fast")

    def url(self, host: str = "127.0.0.1", **options: object) -> str:
        """The superuser's address, of the database postgres."""
        words = "&".join(f"{key}={value}" for key, value in options.items())
        login = f"postgres:{self.password}@{host}:{self.port}"
        return f"postgresql://{login}/postgres" + (f"?{words}" if words else "")

    def _initialise(self, folder: Path, certificates: Mapping[str, bytes]) -> None:
        (folder / "password").write_text(self.password)
        self._give(folder, folder / "password")
        access = ("-U", "postgres", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}")
        self._call("initdb", "-D", str(self.data), "--no-sync", "--no-locale", "--encoding=UTF8", *access)
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {other_name()[1]}/32 scram-sha-256\n")
        for name, content in certificates.items():
            (self.data / name).write_bytes(content)
            (self.data / name).chmod(0o600)
            self._give(self.data / name)

    def _give(self, *paths: Path) -> None:
        for path in paths:
            if self._user:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _call(self, program: str, *arguments: str) -> None:
        assert PROGRAM
        done = subprocess.run(
            [Path(PROGRAM).with_name(program), *arguments],
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            # No pipes: the server keeps what pg_ctl was given, and a pipe would never end.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user.pw_uid if self._user else None,
            group=self._user.pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
            check=False,
        )
        log = self.data / "log"
        assert not done.returncode, f"{program}: {log.read_text() if log.exists() else done.returncode}"


@contextmanager
def running(certificates: Mapping[str, bytes]) -> Iterator[TlsServer]:
    """A server for as long as the block lasts."""
    memory = Path("/dev/shm")  # noqa: S108  only ever the parent of a private directory
    with tempfile.TemporaryDirectory(prefix="usage-jobs-tls-", dir=memory if memory.is_dir() else None) as folder:
        server = TlsServer(Path(folder), certificates)
        server.start()
        try:
            yield server
        finally:
            server.stop()

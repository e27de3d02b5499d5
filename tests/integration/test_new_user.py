"""Tried as a new user would, each against a real thing where there is one: the message alone is enough to mend it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import strangers
from authority import Authority
from commands import EVERY_COMMAND, Ran, add_usage, applied, ask, usage_jobs
from conftest import SHAPES
from passwords import SUPABASE, WAYS, role, with_password
from strangers import Stranger, door
from told import refused, under

from jobs.demo.server import run_server
from jobs.postgres import connections as store

GIVEN = SUPABASE | {"SUPABASE_DB_PASSWORD": "s3cret"}
COMMANDS = (("check",), ("run",))
WRITING = (("check",), ("run",), ("schema", "--apply"))
loopback = pytest.mark.skipif(not strangers.addressable(), reason="this system has one loopback address")


def here(way: str) -> dict[str, str]:
    """Supabase's variables, with its names and ports leading to this machine."""
    return {**GIVEN, "SUPABASE_CONNECTION": way, "PGHOSTADDR": strangers.address(), "USAGE_JOBS_READER": "copy"}


@pytest.fixture
def let_in(ready: str, tmp_path: Path) -> Iterator[Callable[[str, str], Stranger]]:
    """let_in(way, password): Supabase's end of a way, in front of a real database whose role has that password."""
    with role(ready, "s3cret") as url:
        yield lambda way, password: Stranger(
            door(with_password(url, password)), WAYS[way][2], Authority(tmp_path).context(WAYS[way][1])
        )


@loopback
@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_password(let_in: Callable[[str, str], Stranger], way: str) -> None:
    with let_in(way, "s3cret"):
        right = under(here(way), "check")
        assert right.code == 0, right.err
        for command in EVERY_COMMAND if way == "pooler" else COMMANDS:
            wrong = under(here(way) | {"SUPABASE_DB_PASSWORD": "0ther"}, *command)
            refused(wrong, "password authentication failed", "SUPABASE_DB_PASSWORD", "reset", WAYS[way][1])
            assert "0ther" not in wrong.err


def test_the_poolers_user_name_on_a_direct_connection(database: str) -> None:
    """PostgreSQL does not say that there is no such user: only that the password is wrong."""
    parts = urlsplit(database)
    if not parts.password:
        pytest.skip("this server asks for no password")
    url = parts._replace(netloc=f"postgres.abcd:{parts.password}@{parts.hostname}:{parts.port}").geturl()
    refused(usage_jobs("check", url=url), r"postgres\.<ref>", "pooler", "direct")


@loopback
@pytest.mark.parametrize("way", ["direct", "session"])
def test_a_paused_project(way: str) -> None:
    """Nobody listens there."""
    for command in EVERY_COMMAND if way == "direct" else COMMANDS:
        refused(under(here(way), *command), "refused", "paused", "dashboard", WAYS[way][1], "5432")


def test_a_project_that_does_not_exist() -> None:
    """Its host's name leads nowhere."""
    refused(under(GIVEN | {"SUPABASE_CONNECTION": "direct"}, "run"), "db.abcd.supabase.co", "SUPABASE_PROJECT_REF")


NO_IPV6 = (
    'connection to server at "db.abcd.supabase.co" (2001:db8::1), port 5432 failed: Network is unreachable\n'
    "\tIs the server running on that host and accepting TCP/IP connections?",
    'connection to server at "db.abcd.supabase.co" (2001:db8::1), port 5432 failed: No route to host\n'
    "\tIs the server running on that host and accepting TCP/IP connections?",
    'connection to server at "db.abcd.supabase.co" (2001:db8::1), port 5432 failed: Cannot assign requested address\n'
    "\tIs the server running on that host and accepting TCP/IP connections?",
    'could not translate host name "db.abcd.supabase.co" to address: No address associated with hostname',
)
"""What libpq says on machines that have no IPv6, or have it by halves."""


@pytest.mark.parametrize("words", NO_IPV6)
def test_no_ipv6(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """The direct connection has an IPv6 address alone."""

    def fail(*_: object, **__: object) -> None:
        raise psycopg.OperationalError(f"connection failed: {words}")

    def resolved(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        assert host == "db.abcd.supabase.co"
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 5432, 0, 0))]

    monkeypatch.setattr(psycopg, "connect", fail)
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    ran = under(GIVEN | {"SUPABASE_CONNECTION": "direct"}, "run")
    refused(ran, "IPv6", "SUPABASE_CONNECTION=session", "SUPABASE_REGION", "add-on")


def test_truly_no_ipv6(tmp_path: Path) -> None:
    """In a network of its own, which has nothing, with a file of hosts in which Supabase's has an IPv6 address."""
    alone = ["unshare", "--net", "--mount", "sh", "-c"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a network of its own")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n2001:db8::1 db.abcd.supabase.co\n")
    start = f"{sys.executable} -c 'from jobs.cli.main import main; raise SystemExit(main())' check"
    done = subprocess.run(
        [*alone, f"mount --bind {tmp_path}/hosts /etc/hosts && exec {start}"],
        env={**os.environ, **GIVEN, "SUPABASE_CONNECTION": "direct"},
        capture_output=True,
        text=True,
        check=False,
    )
    refused(
        Ran(done.returncode, done.stdout, done.stderr), "2001:db8::1", "IPv6", "SUPABASE_CONNECTION=session", "add-on"
    )


@pytest.mark.thorough
def test_a_read_only_replica(server_directory: Path) -> None:
    """A real standby: a server that was stopped, and is told to follow another that never says anything."""
    with run_server(server_directory, fsync=False) as url:
        with psycopg.connect(url) as connection:
            connection.execute(SHAPES["a"].read_bytes())
        add_usage(applied(url))
    (server_directory / "data" / "standby.signal").touch()
    with run_server(server_directory) as url:
        assert ask(url, "SELECT pg_is_in_recovery() AS follows") == [{"follows": True}]
        for command in WRITING:
            refused(usage_jobs(*command, url=url), "replica", "primary")
        assert usage_jobs("runs", url=url).code == 0, "what only looks may look"


@pytest.mark.direct("a server connection that a pooler kept has not heard of the setting")
def test_a_project_that_is_read_only_because_its_disk_is_full(database: str) -> None:
    add_usage(applied(database))
    ask(database, f'ALTER DATABASE "{urlsplit(database).path[1:]}" SET default_transaction_read_only = on')
    for command in WRITING:
        refused(usage_jobs(*command, url=database), "read-only", "disk")


def silent(client: strangers.Client, _said: object) -> None:
    """Waits until the client has had enough."""
    client.recv(1)


@pytest.mark.parametrize("deaf", [True, False])
def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch, deaf: bool) -> None:
    """It takes the connection, and that is all; or it lets the client say who it is, and then nothing."""
    assert store.CONNECT_SECONDS < 15
    monkeypatch.setattr(store, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as listener, Stranger(silent, host="127.0.0.1") as stranger:
        port = listener.getsockname()[1] if deaf else stranger.port
        ran = usage_jobs("check", url=f"postgresql://job:s3cret@127.0.0.1:{port}/app")
    refused(ran, f"127.0.0.1:{port}", "timeout|timed out", "does not answer|did not answer", "firewall", "paused")


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"])
def test_who_answers_is_not_postgresql(said: bytes) -> None:
    with Stranger(lambda client, _: client.sendall(said), host="127.0.0.1") as stranger:
        ran = usage_jobs("run", url=f"postgresql://job:s3cret@127.0.0.1:{stranger.port}/app")
    refused(ran, str(stranger.port), "PostgreSQL", "port")


@pytest.mark.parametrize("url", ["https://abcd.supabase.co", "abcd.supabase.co", "eyJhbGciOiJIUzI1NiJ9.e30.x"])
def test_what_the_rest_api_wants_is_no_address_of_the_database(url: str) -> None:
    refused(usage_jobs("check", url=url), "DATABASE_URL", "postgresql://", code=2)

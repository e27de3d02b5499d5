"""Four ways to a database: TEST_WAY says which one the job takes whenever a test lets it work.

``direct`` (the default) is the server itself, as its superuser; TEST_DATABASE_URL makes that another version of
PostgreSQL. ``pooler`` is PgBouncer in transaction mode with two connections to each database. ``role`` is a login role
that has what `usage-jobs schema --role` grants, and nothing else, under row-level security.

What a test prepares and inspects always goes straight to the server. Only the addresses of the suite's own server lead
elsewhere: a test's own roles, servers and wires keep theirs. A test marked ``direct`` says why it stays there; with
``once`` it is about the way itself, and not played again on another version of PostgreSQL.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

import as_role
import pooler
import psycopg
import pytest

from jobs.settings import Settings

WAYS = ("direct", "pooler", "role")
WAY = os.environ.get("TEST_WAY", "direct")
FURTHER = WAY != "direct" or "TEST_DATABASE_URL" in os.environ
"""Whether the suite runs once more, where not every case need be tried again."""


READERS = ("copy",) if WAY == "pooler" else ("copy", "connectorx")
"""Those that can read this way: connectorx prepares its statements."""


class Way(Protocol):
    """Where the job connects instead of ``url``, and as whom; ``settings`` are those that it will work under."""

    def url(self, url: str, settings: Callable[[], Settings]) -> str: ...

    def owner_url(self, url: str) -> str:
        """The same for `schema --apply`, which only the tables' owner may run."""
        ...

    def left(self, url: str) -> None:
        """The job has ended: whatever its way keeps open to the database is closed."""
        ...


class _Pooled:
    def __init__(self, pool: pooler.Pooler) -> None:
        self._pool = pool

    def url(self, url: str, settings: Callable[[], Settings]) -> str:  # noqa: ARG002 - all go the same way
        return self._pool.url(url)

    def owner_url(self, url: str) -> str:
        return self._pool.url(url)

    def left(self, url: str) -> None:
        self._pool.left(urlsplit(url).path[1:])


_suite: str | None = None
"""The suite's own server, as in ``_servers``."""
_servers: dict[str, Way] = {}
"""The suite's own servers, by user, password, host and port."""


_kept: dict[str, psycopg.Connection[Any]] = {}
"""Connections of the test itself, by address."""


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction straight on the database, for a test to prepare or to inspect something.

    The connection is kept until somebody calls ``left`` or ``leave``, as making one takes 10 ms; other threads than the
    test's own, and addresses of other servers than the suite's, get one that is closed at the end.
    """
    if _server(url) != _suite or threading.current_thread() is not threading.main_thread():
        with psycopg.connect(url) as connection:
            yield connection
        return
    connection = _taken(url)
    try:
        with connection.transaction():
            yield connection
        connection.execute("DISCARD ALL")
    except BaseException:
        connection.close()
        raise
    if url in _kept:  # a block within this one has kept another
        connection.close()
    else:
        _kept[url] = connection


def _taken(url: str) -> psycopg.Connection[Any]:
    """A connection to the database that nobody else is given meanwhile."""
    kept = _kept.pop(url, None)
    if kept is not None:
        try:
            kept.execute("SELECT 1")
        except psycopg.OperationalError:  # a test has ended it
            kept.close()
        else:
            return kept
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)


def leave(path: str | None = None) -> None:
    """Closes what ``connected`` has kept to the database of that path, or to all."""
    for url in [url for url in _kept if path in (None, urlsplit(url).path)]:
        _kept.pop(url).close()


def _server(url: str) -> str:
    """What comes before the path; a text that is no address (a placeholder in brackets) is nobody's."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""


def job_url(url: str, settings: Callable[[], Settings]) -> str:
    """What the job is to be given for ``url``."""
    way = _servers.get(_server(url))
    return way.url(url, settings) if way else url


def owner_url(url: str) -> str:
    """What `schema --apply` is to be given for ``url``."""
    way = _servers.get(_server(url))
    return way.owner_url(url) if way else url


def left(url: str) -> None:
    """To be called before a test waits until everybody else has left a database."""
    leave(urlsplit(url).path)
    if way := _servers.get(_server(url)):
        way.left(url)


@contextmanager
def to(url: str) -> Iterator[None]:
    """The way that TEST_WAY names leads to this server as long as the block lasts."""
    assert WAY in WAYS, f"TEST_WAY={WAY}: expected one of {', '.join(WAYS)}"
    global _suite  # noqa: PLW0603  there is one
    _suite = _server(url)
    with _made(url) as way:
        if way:
            _servers[_server(url)] = way
        yield
        _servers.clear()


@contextmanager
def _made(url: str) -> Iterator[Way | None]:
    if WAY == "pooler":
        if pooler.PROGRAM is None:
            pytest.skip(pooler.MISSING)
        with pooler.running(url) as pool:
            yield _Pooled(pool)
    elif WAY == "role":
        with as_role.role(url) as role:
            yield role
    else:
        yield None


@contextmanager
def direct() -> Iterator[None]:
    """Nothing leads elsewhere as long as the block lasts."""
    kept = _servers.copy()
    _servers.clear()
    yield
    _servers.update(kept)

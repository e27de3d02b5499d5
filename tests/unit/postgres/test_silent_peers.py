"""A peer that takes what it is sent and never answers: found out by the kernel's own account of the connection."""

from collections.abc import Iterator

import psycopg
import pytest
from commands import ask
from wire import Statement, Verdict, Wire

from jobs.postgres import socket_watchdog
from jobs.postgres.connections import ReconnectingConnection, transaction
from jobs.postgres.conninfo import Address

pytestmark = pytest.mark.direct("has wires of its own", once=True)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_watchdog, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(socket_watchdog, "LIMIT_SECONDS", 0.5)


@pytest.fixture
def link(database: str) -> Iterator[ReconnectingConnection]:
    def hook(statement: Statement) -> Verdict:
        if "swallowed" in statement.text:
            wire.swallow()
            wire.heal()
        return Verdict.PASS

    with Wire(database, hook) as wire, ReconnectingConnection(Address(wire.url)) as link:
        yield link


def test_who_waits_for_a_peer_that_is_silent_waits_no_longer(link: ReconnectingConnection) -> None:
    with pytest.raises(psycopg.OperationalError):
        link.connection.execute("SELECT 'swallowed'")
    assert link.connection.execute("SELECT 'made anew'").fetchone() == ("made anew",)


def test_who_does_not_wait_is_left_alone(link: ReconnectingConnection, database: str) -> None:
    with transaction(link.connection) as connection:
        ask(database, "SELECT pg_sleep(1)")  # twice the limit, in which we compute, say
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_rows_that_come_one_by_one_are_no_silence(link: ReconnectingConnection) -> None:
    rows = "COPY (SELECT n, repeat('x', 9000), pg_sleep(0.1) FROM generate_series(1, 12) AS n) TO STDOUT"
    with transaction(link.connection) as connection, connection.cursor().copy(rows) as copy:
        assert sum(1 for _ in copy) == 12

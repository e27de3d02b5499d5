"""The proxy of the crash tests itself: it hides nothing, cuts where it is told, and loses answers, not work."""

import signal
import socket
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from commands import ask
from wire import Hook, Statement, Then, Verdict, Wire, connected

from jobs.domain.errors import UnreachableError
from jobs.postgres.socket_watchdog import deadline

PLACE = "CREATE TABLE t (n int)"


def at(text: str, verdict: Verdict) -> Hook:
    """``verdict`` for the statements that begin with ``text``."""
    return lambda statement: verdict if statement.text.startswith(text) else Verdict.PASS


def numbers(url: str) -> list[int]:
    return [row["n"] for row in ask(url, "SELECT n FROM t ORDER BY n")]


def test_everything_passes_and_every_statement_is_seen(database: str) -> None:
    seen: list[Statement] = []

    def hook(statement: Statement) -> Verdict:
        seen.append(statement)
        return Verdict.PASS

    with Wire(database, hook) as wire, psycopg.connect(wire.url) as first, psycopg.connect(wire.url) as second:
        first.execute(PLACE)
        with first.cursor().copy("COPY t FROM STDIN") as into:
            for number in range(100_000):
                into.write_row([number])
        assert first.execute("SELECT sum(n) FROM t WHERE n < %s", [10]).fetchone() == (45,)
        with first.cursor().copy("COPY t TO STDOUT") as out:
            assert sum(1 for _ in out.rows()) == 100_000
        first.commit()
        assert second.execute("SELECT count(*) FROM t").fetchone() == (100_000,)
    texts = {number: [s.text for s in seen if s.connection == number] for number in (0, 1)}
    assert texts[0] == [
        "BEGIN",
        PLACE,
        "COPY t FROM STDIN",
        "SELECT sum(n) FROM t WHERE n < $1",
        "COPY t TO STDOUT",
        "COMMIT",
    ]
    assert texts[1][:2] == ["BEGIN", "SELECT count(*) FROM t"]
    assert [s.ordinal for s in seen if s.connection == 0] == list(range(6))


@pytest.mark.parametrize(("verdict", "stands"), [(Verdict.CUT, []), (Verdict.LOSE, [1])])
def test_a_commit_cut_off_is_undone_and_one_whose_answer_is_lost_is_not(
    database: str, verdict: Verdict, stands: list[int]
) -> None:
    ask(database, PLACE)
    with Wire(database, at("COMMIT", verdict)) as wire:
        connection = psycopg.connect(wire.url)
        connection.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(psycopg.OperationalError) as lost:
            connection.commit()
        assert lost.value.sqlstate is None
    ask(database, "LOCK TABLE t")  # not before the server has noticed
    assert numbers(database) == stands


def test_an_extended_statement_whose_answer_is_lost_was_carried_out(database: str) -> None:
    ask(database, PLACE)
    with Wire(database, at("INSERT", Verdict.LOSE)) as wire:
        connection = psycopg.connect(wire.url, autocommit=True)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("INSERT INTO t VALUES (%s)", [7])
    assert numbers(database) == [7]


def test_another_client_may_act_at_a_boundary(database: str) -> None:
    ask(database, PLACE)

    def hook(statement: Statement) -> Verdict:
        if statement.text.startswith("SELECT"):
            ask(database, "INSERT INTO t VALUES (5)")
        return Verdict.PASS

    with Wire(database, hook) as wire:
        assert numbers(wire.url) == [5]


def test_a_client_may_be_killed_at_a_boundary(database: str) -> None:
    ask(database, PLACE)
    started: Future[subprocess.Popen[bytes]] = Future()

    def hook(statement: Statement) -> Verdict:
        if not statement.text.startswith("COMMIT"):
            return Verdict.PASS
        started.result().kill()
        started.result().wait()
        return Verdict.CUT

    text = "import psycopg, sys; c = psycopg.connect(sys.argv[1]); c.execute('INSERT INTO t VALUES (1)'); c.commit()"
    with Wire(database, hook) as wire:
        started.set_result(subprocess.Popen([sys.executable, "-c", text, wire.url]))
        assert started.result().wait() == -signal.SIGKILL
    ask(database, "LOCK TABLE t")
    assert numbers(database) == []


def test_somebody_may_act_between_a_commit_and_its_answer(database: str) -> None:
    ask(database, PLACE)
    seen: list[int] = []

    def hook(statement: Statement) -> Verdict | Then:
        if statement.text != "COMMIT":
            return Verdict.PASS
        return Then(lambda: seen.extend(numbers(database)))

    with Wire(database, hook) as wire, psycopg.connect(wire.url) as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
        assert seen == [1]
        with connection.cursor().copy("COPY t TO STDOUT") as out:
            assert list(out.rows()) == [("1",)]


def test_a_hole_swallows_everything_and_tells_nobody(database: str) -> None:
    ask(database, PLACE)

    def hook(statement: Statement) -> Verdict:
        if statement.text.startswith("INSERT"):
            wire.swallow()
        return Verdict.PASS

    with Wire(database, hook) as wire:
        old = psycopg.connect(wire.url)
        old.execute("LOCK TABLE t")
        with pytest.raises(UnreachableError), deadline(old, 0.1):
            old.execute("INSERT INTO t VALUES (1)")
        assert old.closed
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            psycopg.connect(wire.url, connect_timeout=2)
        wire.heal()
        with psycopg.connect(wire.url) as new, pytest.raises(psycopg.errors.LockNotAvailable):
            new.execute("LOCK TABLE t NOWAIT")  # which the server still keeps for the old one
    ask(database, "LOCK TABLE t")
    assert numbers(database) == []


def test_an_error_in_the_hook_is_the_tests(database: str) -> None:
    def hook(statement: Statement) -> Verdict:
        raise AssertionError(statement.text)

    wire = Wire(database, hook).__enter__()
    connection = psycopg.connect(wire.url)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(AssertionError, match="BEGIN"):
        wire.__exit__()


def test_a_server_that_is_down_hangs_up(database: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Wire(urlsplit(database)._replace(netloc=f"postgres@127.0.0.1:{port}").geturl(), at("", Verdict.PASS)) as wire:
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError, match="closed the connection"):
                psycopg.connect(wire.url)


def test_a_server_may_be_on_a_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / ".s.PGSQL.5433"))
        server.listen()
        with connected({"host": str(tmp_path), "port": "5433"}) as client:
            client.sendall(b"hello")
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(5) == b"hello"

"""COPY and COMMIT through a pooler whose server goes away: a lost connection, whatever the driver makes of its last
words, which are two."""

from collections.abc import Callable, Iterator

import polars as pl
import pooler
import psycopg
import pytest
from commands import ask
from pooler import Pooler
from psycopg import sql

from jobs.postgres.connections import Connection, connect, open_copy, read_csv_blocks, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import is_transient
from jobs.postgres.socket_watchdog import seconds_silent
from jobs.postgres.table_io import copy_in

pytestmark = [
    pytest.mark.skipif(pooler.PROGRAM is None, reason=pooler.MISSING),
    pytest.mark.direct("has a pooler of its own", once=True),
]


@pytest.fixture
def pool(server_url: str) -> Iterator[Pooler]:
    with pooler.running(server_url) as made:
        yield made


@pytest.fixture
def connection(database: str, pool: Pooler) -> Iterator[Connection]:
    with connect(Address(pool.url(database))) as made:
        yield made


def end(connection: Connection, database: str) -> None:
    """The server's side of a connection in a transaction goes away."""
    found = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert found is not None
    ask(database, "SELECT pg_terminate_backend(%s, 5000)", found[0])


def into_a_table(connection: Connection, database: str) -> None:
    with transaction(connection):
        connection.execute("CREATE TEMP TABLE stage (n int) ON COMMIT DROP")
        end(connection, database)
        copy_in(connection, sql.Identifier("stage"), pl.DataFrame({"n": [1]}))


def in_the_midst_of_rows(connection: Connection, database: str) -> None:
    with transaction(connection):
        connection.execute("CREATE TEMP TABLE stage (n int) ON COMMIT DROP")
        [[pid]] = connection.execute("SELECT pg_backend_pid()").fetchall()
        with open_copy(connection, sql.SQL("COPY {} FROM STDIN").format(sql.Identifier("stage"))) as copy:
            copy.write(b"1\n")
            ask(database, "SELECT pg_terminate_backend(%s, 5000)", pid)
            while seconds_silent(connection, unknown=1):  # until its last words are here
                pass


def out_of_a_query(connection: Connection, database: str) -> None:
    with transaction(connection):
        end(connection, database)
        list(read_csv_blocks(connection, sql.SQL("SELECT 1")))


def nothing_more(connection: Connection, database: str) -> None:
    with transaction(connection):
        end(connection, database)


@pytest.mark.parametrize("copied", [into_a_table, in_the_midst_of_rows, out_of_a_query, nothing_more])
def test_the_server_goes_away(copied: Callable[[Connection, str], None], connection: Connection, database: str) -> None:
    with pytest.raises(psycopg.Error, match=r"lost|closed|terminat|2 results") as lost:
        copied(connection, database)
    assert is_transient(lost.value)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")


def test_what_the_server_refuses_is_no_lost_connection(connection: Connection) -> None:
    text = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier("nowhere"))
    with pytest.raises(psycopg.errors.UndefinedTable), transaction(connection), open_copy(connection, text) as copy:
        list(copy)
    assert not connection.closed

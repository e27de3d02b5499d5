"""Behind a transaction pooler: many runs beside eight other clients of the same small pool, none of whom ever finds
anything of ours in the session that it is given; and the runs come to what they come to without a pooler.

POOL_RUNS sets how many runs.
"""

import random
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import night as world
import pooler
import psycopg
import pytest
from commands import Ran, ask, usage_jobs
from conftest import Databases
from counts import count
from killing import cloned, differing, named, tables
from neighbours import OWN, left_behind, neighbours
from pooler import Pooler

RUNS = count("POOL_RUNS")
SIZE = 8
POOL_SIZE = 2
"""What fits a run alone: what it leaves, others get at once."""
SETTINGS = world.SETTINGS | {"USAGE_JOBS_READER": "auto"}

pytestmark = [
    pytest.mark.skipif(pooler.PROGRAM is None, reason=pooler.MISSING),
    pytest.mark.direct("has poolers of its own, and compares with what runs directly", once=True),
]


@pytest.fixture(scope="module")
def before(databases: Databases) -> Iterator[str]:
    """The name of a database with half a night's work before it."""
    url = world.made(databases).url
    # Where the job sets one for a transaction, the neighbours' own is another.
    ask(url, f"ALTER DATABASE {named(url)} SET timezone = 'Asia/Tokyo'")
    ask(url, OWN)
    yield named(url)
    databases.retire([url])


@pytest.fixture
def copies(databases: Databases, before: str) -> Iterator[Callable[[], str]]:
    urls: list[str] = []

    def made() -> str:
        urls.append(cloned(databases, before))
        ask(urls[-1], f"ALTER DATABASE {named(urls[-1])} SET timezone = 'Asia/Tokyo'")
        return urls[-1]

    yield made
    databases.retire(urls)


def night(url: str, day: date) -> Ran:
    return usage_jobs("run", "--json", "--date", str(day), url=url, today=world.TODAY, **SETTINGS)


def change(rng: random.Random, number: int, day: date) -> tuple[str, list[object]]:
    """What other programs do to users and usage between two runs."""
    users = sorted(world.MONEY)
    user, other = rng.sample(users, 2)
    amount = Decimal(rng.randrange(1, 2000)) / 100
    changes: list[tuple[str, list[object]]] = [
        ("UPDATE usage_daily SET cpu_hours = %s WHERE user_id = %s AND date <= %s", [amount, user, day]),
        ("UPDATE usage_daily SET user_id = %s WHERE user_id = %s AND date = %s", [other, user, day]),
        ("DELETE FROM usage_daily WHERE user_id = %s AND cpu_hours > 15 AND date = %s", [user, day]),
        (
            "INSERT INTO usage_daily (id, user_id, date, cpu_hours) VALUES (%s, %s, %s, %s)",
            [UUID(int=10**12 + number), user, day, amount],
        ),
        ("UPDATE usage_daily SET cpu_hours = 'NaN' WHERE user_id = %s AND date = %s", [user, day]),
        ("UPDATE users SET billing_mode = %s WHERE id = %s", [rng.choice(["prepaid", "postpaid"]), user]),
        ("UPDATE user_credits SET total_purchased = total_purchased + %s WHERE user_id = %s", [amount, user]),
    ]
    return rng.choice(changes)


@pytest.mark.thorough
def test_no_run_leaves_anything_to_the_other_clients_of_its_pool(
    server_url: str,
    copies: Callable[[], str],
    record_property: Callable[[str, object], None],
) -> None:
    pooled, direct, rng = copies(), copies(), random.Random(POOL_SIZE)
    day, changed = world.LAST_DAY, 0
    with pooler.running(server_url, default_pool_size=POOL_SIZE) as pool:
        with neighbours(pool.url(pooled), SIZE) as met:
            for number in range(RUNS):
                if number and number % 10 == 0:
                    day = min(day + timedelta(days=1), world.TODAY - timedelta(days=1))
                for text, values in (change(rng, 10 * number + n, day) for n in range(3)):
                    for url in (pooled, direct):
                        ask(url, text, *values)
                told, expected = night(pool.url(pooled), day), night(direct, day)
                assert (told.code, expected.code) in ((0, 0), (3, 3)), (number, told.err, expected.err)
                assert told.object["changed"] == expected.object["changed"], number
                changed += told.object["rows_changed"]
        [seen] = met
        assert pool.ask("SHOW STATS_TOTALS"), "the pooler is the same to the end"
    record_property("transactions of others", dict(seen.transactions))
    assert seen.errors == []
    assert seen.leaks == {}
    assert len(seen.transactions) == SIZE
    assert min(seen.transactions.values()) >= RUNS, "they were at work all the time"
    assert len(seen.servers) <= POOL_SIZE, "they shared the pool"
    assert changed >= RUNS
    assert differing(tables(pooled), tables(direct)) == []
    again = night(pooled, day)
    assert again.object["rows_changed"] == 0


LEFT = {
    "SET statement_timeout = '15min'": "setting statement_timeout = 900000",
    "SET lock_timeout = '30s'": "setting lock_timeout = 30000",
    "SET idle_in_transaction_session_timeout = '1min'": "setting idle_in_transaction_session_timeout = 60000",
    "SET client_connection_check_interval = '1s'": "setting client_connection_check_interval = 1000",
    "SET default_transaction_read_only = on": "setting default_transaction_read_only = on",
    "SET search_path = rollup": "setting search_path = rollup",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE": (
        "setting default_transaction_isolation = serializable"
    ),
    "SET ROLE anon": "role anon",
    "SELECT pg_advisory_lock(4711)": "advisory lock 4711",
    "CREATE TEMPORARY TABLE left_behind (n int)": "temporary left_behind",
    "PREPARE left_behind AS SELECT 1": "prepared statement left_behind",
    "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1": "cursor left_behind",
    "LISTEN left_behind": "channel left_behind",
}


@pytest.fixture
def pool(server_url: str) -> Iterator[Pooler]:
    """With a single server: the next client gets what the last one left."""
    with pooler.running(server_url, default_pool_size=1) as made:
        yield made


@pytest.mark.parametrize("statement", LEFT)
def test_the_neighbours_notice_what_is_left_behind(statement: str, database: str, pool: Pooler) -> None:
    address = pool.url(database)
    with psycopg.connect(address) as other:
        assert left_behind(other) == []
    with psycopg.connect(address, autocommit=True) as careless:
        careless.execute(statement.encode())
    with psycopg.connect(address) as other:
        assert LEFT[statement] in left_behind(other)


def test_neighbours_at_work_notice_what_comes_between(database: str, pool: Pooler) -> None:
    ask(database, OWN)
    planted = [text for text in LEFT if text.startswith(("SET lock", "SELECT pg_advisory", "CREATE TEMP"))]
    with (
        neighbours(pool.url(database), 2) as met,
        psycopg.connect(pool.url(database), autocommit=True, prepare_threshold=None) as careless,
    ):
        for text in planted:
            careless.execute(text.encode())
        work = "SELECT sum(transactions) AS done FROM neighbours"
        [before] = ask(database, work)
        while ask(database, work)[0]["done"] < before["done"] + 4:
            pass
    [seen] = met
    assert seen.leaks.keys() == {LEFT[text] for text in planted}
    assert seen.errors == []


def test_a_careless_run_would_be_noticed(database: str, pool: Pooler, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of our transactions, set for the session instead: what the campaign above is there to find."""
    monkeypatch.setattr("jobs.postgres.connections.LIMITS", ("SET statement_timeout = '15min'", "SET timezone = 'UTC'"))
    ask(database, OWN)
    ask(database, f"ALTER DATABASE {named(database)} SET timezone = 'Asia/Tokyo'")
    address = pool.url(database)
    assert usage_jobs("schema", "--apply", url=address).code == 0
    with neighbours(address, 2) as met:
        pass
    assert met[0].leaks.keys() >= {"setting statement_timeout = 900000"}

"""Other clients between the statements of a batch: nothing of theirs is lost, nothing of ours is written twice.

Before each statement of each batch, from BEGIN to COMMIT, another client does one thing, or waits until it can. The
run and one quiet run after it then leave what they leave where the same thing happened before the run, or after it;
both of these are computed by a full run. STATEMENT_STRIDE sets how many of the statements are tried.
"""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from threading import Event, Thread

import psycopg
import pytest
from batch_world import DAY, FIRST, RUNS, Act, Facts, batches, differences, facts, fill, recorded, wired
from conftest import Databases
from counts import count
from killing import cloned, named
from money_checks import wrong_money
from purchases import buy
from ticker import ticks
from wire import Statement, Verdict

EVERY = max(1, count("STATEMENT_STRIDE") * 2 // 3)
TRIES = 12_000
"""How often a client that waits is looked at, a minute long at most."""


def purchase(connection: psycopg.Connection) -> None:
    """Two users buy who are short."""
    for user in ("ben", "eve"):
        buy(connection, user, Decimal(4))


def update(connection: psycopg.Connection) -> None:
    """The collector corrects a row that was done, and one that is new, of users of different batches."""
    text = "UPDATE usage_daily SET cpu_hours = cpu_hours + 7.07 WHERE user_id = %s AND date = %s"
    connection.execute(text, ["ann", date(2026, 6, 1)])
    connection.execute(text, ["eve", DAY])


def move(connection: psycopg.Connection) -> None:
    """A row that was drawn goes to another user, and a new one comes from a third."""
    text = "UPDATE usage_daily SET user_id = %s WHERE user_id = %s AND date = %s"
    connection.execute(text, ["eve", "ann", date(2026, 6, 1)])
    connection.execute(text, ["ben", "fay", DAY])


def switch(connection: psycopg.Connection) -> None:
    """One user becomes prepaid, another postpaid."""
    connection.execute("UPDATE users SET billing_mode = 'prepaid' WHERE id = 'dora'")
    connection.execute("UPDATE users SET billing_mode = 'postpaid' WHERE id = 'cy'")


ACTS: dict[str, Act] = {"purchase": purchase, "update": update, "move": move, "switch": switch}


@pytest.fixture(scope="module")
def world(databases: Databases) -> Iterator[str]:
    """Never touched after it is made; each trial has a copy."""
    url = databases.create("a")
    fill(url)
    yield url
    databases.retire([url])


@pytest.fixture
def copy(databases: Databases, world: str) -> Iterator[Callable[[], str]]:
    """copy(): the URL of a new database as before the run."""
    urls: list[str] = []

    def made() -> str:
        urls.append(cloned(databases, named(world)))
        return urls[-1]

    yield made
    databases.retire(urls)


@pytest.fixture(scope="module")
def written(databases: Databases, world: str) -> list[list[Statement]]:
    """The batches of an undisturbed run."""
    url = cloned(databases, named(world))
    found = batches(recorded(url))
    databases.retire([url])
    return found


@pytest.fixture(scope="module")
def expected(databases: Databases, world: str) -> Callable[[str], list[Facts]]:
    """expected(name): what a full run leaves where the act came before the run, and where it came after it."""

    @cache
    def found(name: str) -> list[Facts]:
        before, after = cloned(databases, named(world)), cloned(databases, named(world))
        done(before, ACTS[name])
        RUNS.run(after, DAY)
        done(after, ACTS[name])
        for url in (before, after):
            RUNS.run(url, DAY, full=True)
        both = [facts(before), facts(after)]
        databases.retire([before, after])
        return both

    return found


class Neighbour:
    """One act, on a connection and thread of its own: it may have to wait for a row that the run holds."""

    def __init__(self, url: str, act: Act) -> None:
        self._url, self._act = url, act
        self._connection = psycopg.connect(url)
        self._error: psycopg.Error | None = None
        self._thread = Thread(target=self._do)
        self._thread.start()

    def has_settled(self) -> bool:
        """Returns when the act is committed (True) or waits for somebody's lock (False)."""
        text = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
        with psycopg.connect(self._url, autocommit=True) as connection:
            for _ in ticks(Event(), 200, TRIES):
                if not self._thread.is_alive():
                    return True
                if connection.execute(text, [self._connection.info.backend_pid]).fetchone() == (True,):
                    return False
        raise AssertionError("the other client neither ends nor waits for anybody")

    def join(self) -> None:
        """Raises what the server told the client: no client may be hurt by the run."""
        self._thread.join()
        self._connection.close()
        if self._error is not None:
            raise self._error

    def _do(self) -> None:
        try:
            self._act(self._connection)
            self._connection.commit()
        except psycopg.Error as error:
            self._error = error


def done_at(target: Statement, act: Act, url: str) -> bool:
    """Runs the night, with the act before one statement of it; whether the act was done at once."""
    neighbours: list[Neighbour] = []
    at_once: list[bool] = []

    def hook(statement: Statement) -> Verdict:
        if (statement.connection, statement.ordinal) == (target.connection, target.ordinal):
            assert statement.text[:12] == target.text[:12], "the run is not the one that was recorded"
            neighbours.append(Neighbour(url, act))
            at_once.append(neighbours[0].has_settled())
        return Verdict.PASS

    try:
        wired(url, hook)
    finally:
        for neighbour in neighbours:
            neighbour.join()
    assert at_once, f"the run never came to {target}"
    return at_once[0]


def done(url: str, act: Act) -> None:
    with psycopg.connect(url) as connection:
        act(connection)


def boundaries(transactions: list[list[Statement]]) -> list[Statement]:
    """The statements of all batches, but for limits, before and after which all is one."""
    return [each for some in transactions for each in some if not each.text.upper().startswith("SET LOCAL")]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ACTS)
def test_what_others_do_between_two_statements_counts_once(
    name: str,
    copy: Callable[[], str],
    written: list[list[Statement]],
    expected: Callable[[str], list[Facts]],
    record_property: Callable[[str, object], None],
) -> None:
    at_once, url = list[bool](), ""
    for target in boundaries(written)[list(ACTS).index(name) * EVERY // len(ACTS) :: EVERY]:
        url = copy()
        at_once.append(done_at(target, ACTS[name], url))
        RUNS.run(url, DAY)
        found = facts(url)
        assert min((differences(found, one) for one in expected(name)), key=len) == [], target
        assert wrong_money(url, FIRST.replace(day=1)) == {}, target
    record_property("acts that had to wait", f"{at_once.count(False)} of {len(at_once)}")
    assert RUNS.broken(url, DAY) == []
    assert RUNS.run(url, DAY, full=True).rows_changed == 0


@pytest.mark.thorough
@pytest.mark.parametrize("name", ACTS)
def test_the_act_changes_what_the_run_leaves(
    name: str, copy: Callable[[], str], expected: Callable[[str], list[Facts]]
) -> None:
    """Or the test above would prove nothing. When it happens makes no difference, but for the billing mode, which a
    run that covers no new day does not ask again."""
    url = copy()
    RUNS.run(url, DAY)
    before, after = expected(name)
    assert differences(before, facts(url))
    assert bool(differences(before, after)) == (name == "switch")


@pytest.mark.thorough
def test_a_batch_holds_what_it_writes_until_it_commits(copy: Callable[[], str], written: list[list[Statement]]) -> None:
    """There is more than one batch; before BEGIN nobody has to wait for it, and before COMMIT somebody has."""
    assert len(written) > 1
    at_begin = [done_at(batch[0], update, copy()) for batch in written[:2]]
    assert at_begin == [True, True]
    assert not all(done_at(batch[-1], update, copy()) for batch in written)


@pytest.mark.thorough
def test_an_undisturbed_run_is_right(copy: Callable[[], str]) -> None:
    """What every trial is compared with: money is right, and a full run finds nothing to add."""
    url = copy()
    RUNS.run(url, DAY)
    assert wrong_money(url, FIRST.replace(day=1)) == {}
    assert RUNS.broken(url, DAY) == []
    before = facts(url)
    assert RUNS.run(url, DAY).rows_changed == 0
    assert RUNS.run(url, DAY, full=True).rows_changed == 0
    assert differences(facts(url), before) == []

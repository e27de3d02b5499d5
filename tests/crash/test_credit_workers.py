"""One run at a time: sixteen workers begin the same night at once, and one night's result stands.

First as they are; then without the guard, as if its connection had broken in each of them: fence, row locks and keys
alone must hold. WORKER_ROUNDS sets how often.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import night as world
import psycopg
import pytest
from counts import count
from crowd import Crowd, unguarded
from killing import differing, states, tables
from night import Night
from ways import job_url, left
from wire import Statement, Verdict, Wire

from jobs.domain.errors import LockedError
from jobs.domain.run_report import Report

ROUNDS = count("WORKER_ROUNDS")
WORKERS = 16


@pytest.mark.thorough
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "fence alone"])
def test_of_many_runs_at_once_one_result_is_left(
    guarded: bool, night: Night, copy: Callable[[], str], record_property: Callable[[str, object], None]
) -> None:
    outcomes: Counter[str] = Counter()
    with Crowd(WORKERS, guarded=guarded) as crowd:
        for _ in range(ROUNDS):
            url = copy()
            found = crowd.run(url)
            outcomes += found
            assert found.keys() <= {"done", "LockedError"}, found
            assert differing(tables(url), night.after) == [], found
            assert states(url)[-1] == "done", (found, states(url))
            assert "running" not in states(url)
            assert deadlocks(url) == 0
            assert world.run(url).rows_changed == 0
    record_property("outcomes", dict(outcomes))


def test_two_runs_never_begin_at_once(night: Night, copy: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard: who begins while another's beginning is not committed would not see it, nor fence it out."""
    monkeypatch.setattr("jobs.pipeline.run.hold_run_lock", unguarded)
    begin = next(t for t in night.writing() if any('"runs"' in world.bare(s) for s in t))
    assert overtaken_at(begin[-1], copy(), night), "it began, and ended, before the first one's begin was committed"


@pytest.mark.thorough
def test_a_run_that_begins_inside_another_ends_it_and_completes_the_night(
    night: Night, copy: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the guard, at the begin, in the midst and at the end of transactions that write, and of every batch."""
    monkeypatch.setattr("jobs.pipeline.run.hold_run_lock", unguarded)
    places = [(t[0], t[len(t) // 2], t[-1]) for t in night.writing()]
    for statement in [at for places_of_one in places for at in places_of_one][
        :: max(1, count("STATEMENT_STRIDE") // 6)
    ]:
        overtaken_at(statement, copy(), night)
    fenced = [overtaken_at(batch[-1], copy(), night) for batch in night.batches()]
    assert all(fenced), "a batch does not hold back whoever marks its run crashed"


def overtaken_at(target: Statement, url: str, night: Night) -> bool:
    """Two runs, of which the second starts before one statement of the first; whether it waits for the first.

    The second must come through, the first at most be fenced out; and the night is as ever.
    """
    second: list[Future[Report]] = []
    waited: list[bool] = []

    def hook(statement: Statement) -> Verdict:
        if (statement.connection, statement.ordinal) == (target.connection, target.ordinal):
            second.append(threads.submit(world.run, url))
            waited.append(waits(second[0], url))
        return Verdict.PASS

    with ThreadPoolExecutor() as threads, Wire(job_url(url, world.settings), hook) as wire:
        first = threads.submit(world.run, wire.url).exception()
        assert first is None or isinstance(first, LockedError), first
        assert second[0].exception() is None, target
    assert differing(tables(url), night.after) == [], target
    assert states(url)[-1] == "done", target
    assert "running" not in states(url), target
    return waited[0]


def waits(run: Future[Report], url: str) -> bool:
    """Returns once a run of ours waits for another's lock (True), or has ended (False)."""
    text = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name ~ '^usage-jobs rollup ' AND cardinality(pg_blocking_pids(pid)) > 0)"
    )
    with psycopg.connect(url, autocommit=True) as connection:
        while not run.done():
            if connection.execute(text).fetchone() == (True,):
                return True
    return False


def deadlocks(url: str) -> int:
    """Counted once every other connection has reported its own."""
    left(url)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(others).fetchone() != (0,):
            pass
        found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int((found.fetchone() or [0])[0])

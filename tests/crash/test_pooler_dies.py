"""Law 7 behind a transaction pooler: PgBouncer dies by SIGKILL before a statement of the night's run, with every
connection of the job's: the guard's, the reader's and the writer's at once.

Where it comes back at once the run goes on; where it stays away the run says so; what is left is never half a user.
POOLER_KILLS sets before how many statements it dies.
"""

from collections.abc import Callable, Iterator

import night as world
import pooler
import pytest
from commands import Ran, pausing, usage_jobs
from counts import count
from killing import differing, released, states, tables, whole_users
from night import LAST_DAY, TODAY, Night
from pooler import Pooler
from wire import Statement, Verdict, Wire

KILLS = count("POOLER_KILLS")

pytestmark = [
    pytest.mark.skipif(pooler.PROGRAM is None, reason=pooler.MISSING),
    pytest.mark.direct("has a pooler of its own", once=True),
]


@pytest.fixture
def pool(server_url: str) -> Iterator[Pooler]:
    with pooler.running(server_url) as made:
        yield made


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which are not made."""
    made: list[float] = []
    pausing(monkeypatch, made.append)
    return made


def some(night: Night, part: int, parts: int) -> list[Statement]:
    """Statements of the recorded run, evenly from the first to the last one; a part of them."""
    every = world.boundaries([list(night.statements)])
    last = len(every) - 1
    return [every[round(n * last / max(1, KILLS - 1))] for n in range(KILLS)][part::parts]


def run_until(target: Statement, url: str, pool: Pooler, then: Callable[[], None]) -> Ran:
    """The night's run, with PgBouncer killed before one of its statements, and ``then`` something done."""
    died: list[Statement] = []

    def hook(statement: Statement) -> Verdict:
        if not died and (statement.connection, statement.ordinal) == (target.connection, target.ordinal):
            assert statement.text == target.text
            died.append(statement)
            pool.kill()
            then()
        return Verdict.PASS

    with Wire(pool.url(url), hook) as wire:
        ran = usage_jobs("run", "--date", str(LAST_DAY), url=wire.url, today=TODAY, **world.SETTINGS)
    assert died, "the run never came to this statement"
    return ran


def night_is_completed(url: str, night: Night) -> None:
    """A run without a mishap leaves what an undisturbed night leaves."""
    again = usage_jobs("run", "--date", str(LAST_DAY), url=url, today=TODAY, **world.SETTINGS)
    assert again.code == 3, again.err
    assert differing(tables(url), night.after) == []
    assert states(url)[-1] == "done"
    assert "running" not in states(url)


@pytest.mark.thorough
@pytest.mark.kill
@pytest.mark.parametrize("part", range(4))
def test_a_pooler_that_dies_and_comes_back_at_once(
    part: int,
    night: Night,
    copy: Callable[[], str],
    pool: Pooler,
    tries: list[float],
    record_property: Callable[[str, object], None],
) -> None:
    codes = []
    for target in some(night, part, 4):
        url = copy()
        ran = run_until(target, url, pool, pool.start)
        codes.append(ran.code)
        assert ran.code in (3, 5), (target, ran.err)
        if ran.code == 3:
            assert differing(tables(url), night.after) == [], target
            assert "running" not in states(url), target
        else:
            assert f"127.0.0.1:{pool.port}" in ran.err or "connection was lost" in ran.err, target
            released(url)
            whole_users(tables(url), night.before, night.after)
        night_is_completed(url, night)
    record_property("exit codes", codes)
    assert not codes or codes.count(3) > len(codes) / 2, (
        f"it hardly ever goes on by itself: {codes}, {len(tries)} tries"
    )


@pytest.mark.thorough
@pytest.mark.kill
@pytest.mark.parametrize("part", range(2))
def test_a_pooler_that_dies_and_stays_away(
    part: int, night: Night, copy: Callable[[], str], pool: Pooler, tries: list[float]
) -> None:
    for target in some(night, part, 4):
        url = copy()
        ran = run_until(target, url, pool, lambda: None)
        if target.text == "ROLLBACK":  # the guard's, at the very end: the run was done
            assert ran.code == 3, (target, ran.err)
            continue
        assert ran.code == 5, (target, ran.err)
        assert "Traceback" not in ran.err
        assert tries, "it tried again"
        tries.clear()
        released(url)
        whole_users(tables(url), night.before, night.after)
        pool.start()
        night_is_completed(pool.url(url), night)

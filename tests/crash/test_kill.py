"""Law 7: SIGKILL at random moments of a real run, then a run: the same tables as without it.

KILLS sets how many moments. Each trial gets a copy of one prepared database in which an earlier run has booked other
usage, so that the killed run inserts, updates and deletes; it writes total_cost too (cost = "rated").
"""

import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import psycopg
import pytest
from commands import TODAY, applied, usage_jobs
from conftest import Databases
from counts import count
from killing import Rows, began, cloned, command, differing, named, released, states, tables, whole_users

from jobs.demo import sample

KILLS = count("KILLS")
LAST_DAY = date(2026, 6, 20)
SETTINGS = {"USAGE_JOBS_COST": "rated", "USAGE_JOBS_BATCH_ROWS": "700", "USAGE_JOBS_START": "2026-05"}


@dataclass(frozen=True)
class Prepared:
    """A database before the run, by name and URL; what every table holds before and after an undisturbed run."""

    name: str
    url: str
    before: dict[str, Rows]
    after: dict[str, Rows]
    seconds: float


def done(url: str, day: date) -> None:
    """A run of that day, in this process."""
    ran = usage_jobs("run", "--date", str(day), url=url, today=TODAY, **SETTINGS)
    assert ran.code in (0, 3), ran.err


@pytest.fixture(scope="session")
def prepared(databases: Databases) -> Iterator[Prepared]:
    url = databases.create("a")
    with psycopg.connect(url) as connection:
        sample.load(connection, users=120, days=40, last_day=LAST_DAY)
    applied(url)
    done(url, date(2026, 6, 10))
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM usage_daily WHERE user_id LIKE '%7'")
        connection.execute("UPDATE usage_daily SET cpu_hours = cpu_hours + 1 WHERE user_id LIKE '%3'")
    before = tables(url)
    copy = cloned(databases, named(url))
    done(copy, LAST_DAY)
    with psycopg.connect(copy) as connection:
        took = connection.execute(
            "SELECT extract(epoch FROM max(finished_at - started_at)) FROM rollup.runs"
        ).fetchone()
    assert took is not None
    yield Prepared(named(url), url, before, tables(copy), float(took[0]))
    databases.retire([url, copy])


@pytest.mark.database
@pytest.mark.kill
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_run_and_another_leave_what_an_undisturbed_run_leaves(
    seed: int, databases: Databases, prepared: Prepared, record_property: Callable[[str, object], None]
) -> None:
    url = cloned(databases, prepared.name)
    process = command(url, "run", "--date", str(LAST_DAY), **SETTINGS)
    began(process)
    try:
        process.wait(timeout=random.Random(seed).uniform(0, prepared.seconds * 1.2))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    released(url)
    record_property("users", whole_users(tables(url), prepared.before, prepared.after))
    done(url, LAST_DAY)
    assert differing(tables(url), prepared.after) == []
    assert states(url)[-1] == "done"
    assert "running" not in states(url)
    databases.retire([url])

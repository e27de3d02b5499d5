"""Law 7: SIGKILL at random moments of a real run, then a run: the same tables as without it.

KILLS sets how many moments. Each trial gets a copy of one prepared database in which an earlier run has booked other
usage, so that the killed run inserts, updates and deletes; it writes total_cost too (cost = "rated").
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from conftest import Databases
from psycopg import sql

from jobs.demo import sample

KILLS = int(os.environ.get("KILLS", "20"))
LAST_DAY = date(2026, 6, 20)
KEYS = {
    "user_monthly": ("month", "user_id"),
    "cluster_daily": ("date", "cluster_id"),
    "cluster_monthly": ("month", "cluster_id"),
    "months": ("month",),
    "rejects": ("usage_daily_id",),
}
OF_THE_RUN = {"run_id", "updated_at", "first_seen", "last_seen", "closed_at", "closed_by"}
Rows = dict[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Prepared:
    """A database before the run, by name and URL; what every table holds before and after an undisturbed run."""

    name: str
    url: str
    before: dict[str, Rows]
    after: dict[str, Rows]
    seconds: float


def command(url: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "DATABASE_URL": url,
        "USAGE_JOBS_COST": "rated",
        "USAGE_JOBS_MAX_ROWS_PER_CHUNK": "1500",
        "USAGE_JOBS_START": "2026-05",
    }
    words = [sys.executable, "-c", "from jobs.cli import main; raise SystemExit(main())", *arguments]
    return subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def done(url: str, *arguments: str) -> None:
    process = command(url, *arguments)
    said, _ = process.communicate(timeout=120)
    assert process.returncode in (0, 3), said


def tables(url: str) -> dict[str, Rows]:
    """Every table that a run writes, without what differs from run to run; usage_daily by its costs."""
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        found = {}
        for name, key in KEYS.items():
            rows = connection.execute(sql.SQL("SELECT * FROM rollup.{}").format(sql.Identifier(name))).fetchall()
            kept = [{column: row[column] for column in row.keys() - OF_THE_RUN} for row in rows]
            found[name] = {tuple(row[part] for part in key): row for row in kept}
        costs = connection.execute("SELECT id, user_id, total_cost::text FROM usage_daily").fetchall()
        found["usage_daily"] = {(row["id"],): row for row in costs}
    return found


@pytest.fixture(scope="session")
def prepared(databases: Databases) -> Iterator[Prepared]:
    url = databases.create("a")
    with psycopg.connect(url) as connection:
        sample.load(connection, users=250, days=40, last_day=LAST_DAY)
    done(url, "schema", "--apply")
    done(url, "run", "--date", "2026-06-10")
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM usage_daily WHERE user_id LIKE '%7'")
        connection.execute("UPDATE usage_daily SET cpu_hours = cpu_hours + 1 WHERE user_id LIKE '%3'")
    before = tables(url)
    name = urlsplit(url).path[1:]
    copy = cloned(databases, name)
    done(copy, "run", "--date", str(LAST_DAY))
    with psycopg.connect(copy) as connection:
        took = connection.execute(
            "SELECT extract(epoch FROM max(finished_at - started_at)) FROM rollup.runs"
        ).fetchone()
    assert took is not None
    yield Prepared(name, url, before, tables(copy), float(took[0]))
    databases.retire([url, copy])


def cloned(databases: Databases, name: str) -> str:
    """A copy of a database that nobody is connected to."""
    copy = f"{name}_{random.Random().randrange(10**12)}"
    with psycopg.connect(databases.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copy), sql.Identifier(name)))
    return urlsplit(databases.url)._replace(path=f"/{copy}").geturl()


@pytest.mark.database
@pytest.mark.kill
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_run_and_another_leave_what_an_undisturbed_run_leaves(
    seed: int, databases: Databases, prepared: Prepared, record_property: Callable[[str, object], None]
) -> None:
    url = cloned(databases, prepared.name)
    process = command(url, "run", "--date", str(LAST_DAY))
    began(process)
    try:
        process.wait(timeout=random.Random(seed).uniform(0, prepared.seconds * 1.2))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    released(url)
    record_property("users", whole_users(tables(url), prepared))
    done(url, "run", "--date", str(LAST_DAY))
    assert tables(url) == prepared.after
    with psycopg.connect(url) as connection:
        states = connection.execute("SELECT status FROM rollup.runs ORDER BY run_id").fetchall()
    assert states[-1] == ("done",)
    assert ("running",) not in states
    databases.retire([url])


def began(process: subprocess.Popen[str]) -> None:
    """Waits until the run says that it reads: what comes before touches nothing, and takes most of the time."""
    assert process.stdout is not None
    for line in process.stdout:
        if "read" in line:
            return


def released(url: str) -> None:
    """Waits until the server has noticed that the killed client is gone: its lock falls."""
    with psycopg.connect(url) as connection:
        connection.execute("SET lock_timeout = '60s'")
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('usage-jobs'), hashtext('rollup'))")


def whole_users(found: dict[str, Rows], prepared: Prepared) -> str:
    """Each user stands as before or as after the run, roll-up and written costs together: nothing between."""
    states: dict[str, set[str]] = {}
    for table in ("user_monthly", "usage_daily"):
        before, after = prepared.before[table], prepared.after[table]
        for key in before.keys() | after.keys():
            was, will = before.get(key), after.get(key)
            if was == will:
                continue
            now = found[table].get(key)
            assert now in (was, will), (table, key)
            owner = (was or will or {})["user_id"]
            states.setdefault(owner, set()).add("before" if now == was else "after")
    assert states
    assert all(len(seen) == 1 for seen in states.values()), states
    return f"{sum(seen == {'after'} for seen in states.values())} of {len(states)} done"

"""A backfill that is killed again and again: a new dry run plans the rest each time, and it ends as if undisturbed.

By default 2 months of 20 users; BACKFILL=24x2000 sets months and users, BACKFILL_KILLS how often it is killed.
"""

import os
import random
import signal
import subprocess
from collections.abc import Callable
from datetime import date

import psycopg
import pytest
from commands import applied, ask
from conftest import Databases
from counts import count
from killing import cloned, command, differing, named, released, states, tables

from jobs.demo import sample

MONTHS, USERS = map(int, os.environ.get("BACKFILL", "2x20").split("x"))
KILLS = count("BACKFILL_KILLS")
LAST_DAY = date(2026, 6, 20)
FIRST = date((2026 * 12 + 4 - MONTHS) // 12, (4 - MONTHS) % 12 + 1, 1)
"""So that this many months lie before May, the first that is open."""
SETTINGS = {"USAGE_JOBS_START": "2026-05", "USAGE_JOBS_CREDITS__START": "2020-01"}
SETTINGS |= {"USAGE_JOBS_BATCH_ROWS": str(max(200, MONTHS * USERS * 30 // 15))}
BACKFILL = ("backfill", "--from", str(FIRST), "--to", "2026-04-30", "--reason", "never covered")


@pytest.fixture
def world(databases: Databases) -> str:
    """Usage of all months, the open ones covered; the name of the database."""
    url = databases.create("a")
    with psycopg.connect(url) as connection:
        sample.load(connection, users=USERS, days=(LAST_DAY - FIRST).days + 1, last_day=LAST_DAY)
    applied(url)
    assert finished(command(url, "run", "--date", str(LAST_DAY), **SETTINGS)) == 3
    return url


def finished(process: subprocess.Popen[str]) -> int:
    said, _ = process.communicate()
    assert process.returncode in (0, 3), said
    return process.returncode


@pytest.mark.thorough
def test_a_new_plan_does_the_rest_until_all_is_done(
    databases: Databases, world: str, record_property: Callable[[str, object], None]
) -> None:
    undisturbed, before = cloned(databases, named(world)), tables(world)
    finished(command(undisturbed, *BACKFILL, "--yes", **SETTINGS))
    expected = tables(undisturbed)
    hashes = [plan(world)]
    assert differing(tables(world), before) == []
    todo = len(expected["corrections"])
    rng, marks = random.Random(KILLS), [todo * n // (KILLS + 1) for n in range(KILLS)]
    for mark in marks:
        process = command(world, *BACKFILL, "--plan", hashes[-1], **SETTINGS)
        written_past(world, mark + rng.randrange(0, todo // (KILLS + 1) // 2), process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        released(world)
        left = tables(world)
        refused(world, hashes)
        hashes.append(plan(world))
        assert differing(tables(world), left) == []
    stood = len(ask(world, "SELECT run_id FROM rollup.corrections"))
    record_property("corrections before the last run", f"{stood} of {todo}")
    last = command(world, *BACKFILL, "--plan", hashes[-1], **SETTINGS)
    said, _ = last.communicate()
    assert last.returncode == 3, said
    assert "continues run" in said
    assert states(world) == ["done", *["crashed"] * KILLS, "done"]
    assert differing(tables(world), expected) == []
    assert len(ask(world, "SELECT month, user_id FROM rollup.corrections")) == todo, "no row was written twice"
    assert 0 < stood < todo
    text = "SELECT DISTINCT run_id FROM rollup.corrections"
    assert len(ask(world, text)) > 1, "no kill left anything to go on from"
    databases.retire([world, undisturbed])


def refused(url: str, hashes: list[str]) -> None:
    """What was planned before a part of it was written is another plan now: nobody has agreed to the rest alone."""
    for hash_ in hashes:
        process = command(url, *BACKFILL, "--plan", hash_, **SETTINGS)
        said, _ = process.communicate()
        assert process.returncode == 6, said
        assert f"--plan {hash_}: the data changed since that plan was made" in said


def plan(url: str) -> str:
    """The hash that `--dry-run` prints."""
    process = command(url, *BACKFILL, "--dry-run", **SETTINGS)
    said, _ = process.communicate()
    assert process.returncode == 3, said
    return said.split("--plan ")[-1].split()[0]


def written_past(url: str, mark: int, process: subprocess.Popen[str]) -> None:
    """Returns once more than ``mark`` corrections are committed."""
    with psycopg.connect(url, autocommit=True) as connection:
        while process.poll() is None:
            found = connection.execute("SELECT count(*) FROM rollup.corrections").fetchone()
            if found and found[0] > mark:
                return
    raise AssertionError(process.communicate()[0])

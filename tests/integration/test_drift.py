"""Tables and columns that were dropped, renamed or retyped, one at a time, on a database that has a past.

In turn `check`, `run --dry-run`, `run` and `reconcile`: exit 5 that names TABLE.COLUMN and what was found there, or the
figures of a database that did not drift; and `schema --apply` before a run. DRIFTS=all tries every type of every column
in every shape; by default it is every fourth drift.
"""

import os
from collections.abc import Iterator
from itertools import groupby

import pytest
from drift_figures import differences, figures
from drift_verdicts import Worlds, ended, mended, tried
from drift_world import command, do
from drifts import METERS, SOURCE, Drift, drifts

ALL = os.environ.get("DRIFTS") == "all"
STRIDE = 1 if ALL else 4
EVERY = [drift for shape in "abc" for drift in drifts(shape)]


RARE = ("real", "smallint", "varchar(36)")
"""Like another type in every way that matters here."""


def chosen() -> Iterator[Drift]:
    """In shape A every type of the application's columns, in B and C where they differ; of our own columns (of one
    meter) one other type each. Dropped and renamed are taken in turn."""
    for shape in "abc":
        for number, (_, some) in enumerate(groupby(drifts(shape), lambda drift: (drift.table, drift.column))):
            every = list(some)
            gone, retyped = every[:2], [drift for drift in every[2:] if drift.how not in RARE]
            drift = every[0]
            if drift.is_own and (shape != "a" or (drift.column or "").removesuffix("_cost") in METERS["a"][1:]):
                continue
            if drift.is_own:
                yield from (gone[0], retyped[number % len(retyped)])
            elif drift.column is None:
                yield from every
            elif shape == "a" or drift.column not in SOURCE["a"][drift.table]:
                yield from (gone[number % 2], *retyped)


@pytest.mark.parametrize("drift", EVERY if ALL else list(chosen())[::STRIDE], ids=str)
def test_one_thing_has_drifted(worlds: Worlds, drift: Drift) -> None:
    assert "\n".join(tried(worlds, drift)) == ""


def of_our_own() -> Iterator[Drift]:
    """Each column of the tables that no run can compute anew, and some of the roll-ups."""
    for drift in EVERY if ALL else chosen():
        some = drift.column in ("month", "user_id", "currency", "cpu_hours", "total_cost", "uncovered", "run_id")
        if drift.is_own and (ALL or drift.column is None or (drift.how == "dropped" and (some or not drift.is_rollup))):
            yield drift


@pytest.mark.parametrize("drift", list(of_our_own())[::STRIDE], ids=str)
def test_schema_apply_mends_it_or_says_that_it_cannot(worlds: Worlds, drift: Drift) -> None:
    assert "\n".join(mended(worlds, drift)) == ""


@pytest.mark.parametrize("table", ["user_daily", "user_monthly", "cluster_daily", "cluster_monthly", "touched_days"])
def test_a_roll_up_that_was_lost_is_computed_or_named(worlds: Worlds, table: str) -> None:
    """On a night on which nothing else has changed: a run must not go on beside an empty table."""
    url = worlds.copy("a")
    assert command("a", url, "run").code == 3
    do(url, f"DROP TABLE rollup.{table}")
    assert command("a", url, "schema", "--apply").code == 0
    ran = command("a", url, "run")
    if ran.code == 5 and table in ran.err:
        return
    assert ran.code == 3, ended(ran)
    closed = f"rollup.{table}: no row 2026-05"
    unlike = differences(figures(url), worlds.expected("a"))
    assert [word for word in unlike if not word.startswith(closed)] == []

"""Tables and columns that were dropped, renamed or retyped, one at a time, on a database that has a past.

In turn `check`, `run --dry-run`, `run` and `reconcile`: exit 5 that names TABLE.COLUMN and what was found there, or the
figures of a database that did not drift; and `schema --apply` before a run. DRIFTS=all tries every type of every column
in every shape.
"""

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from commands import configured
from conftest import SHAPES
from drift_verdicts import Worlds, mended, tried
from drift_world import CARDS, copies, world
from drifts import METERS, SOURCE, Drift, drifts

ALL = os.environ.get("DRIFTS") == "all"
EVERY = [drift for shape in "abc" for drift in drifts(shape)]


def chosen() -> Iterator[Drift]:
    """In shape A everything of the application's tables; in B and C what differs there; of our own tables each column
    (of one meter) dropped, and as one other type, the next column as the next."""
    for shape in "abc":
        for number, (_, some) in enumerate(groupby(drifts(shape), lambda drift: (drift.table, drift.column))):
            every = list(some)
            drift, retyped = every[0], every[2:]
            if not drift.is_own and (shape == "a" or drift.column not in SOURCE["a"].get(drift.table, {})):
                yield from every
            elif drift.is_own and shape == "a" and (drift.column or "").removesuffix("_cost") not in METERS["a"][1:]:
                yield from (drift, retyped[number % len(retyped)])


@pytest.fixture(scope="module")
def made(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    with copies(server_url) as some:
        yield Worlds(some, lambda shape: world(shape, SHAPES[shape], tmp_path_factory.mktemp(shape)))


@pytest.fixture
def worlds(made: Worlds, tmp_path: Path) -> Worlds:
    configured(tmp_path, rates=CARDS)
    return made


@pytest.mark.parametrize("drift", EVERY if ALL else list(chosen()), ids=str)
def test_one_thing_has_drifted(worlds: Worlds, drift: Drift) -> None:
    assert "\n".join(tried(worlds, drift)) == ""


OWN = [drift for drift in (EVERY if ALL else chosen()) if drift.is_own]


@pytest.mark.parametrize("drift", [d for d in OWN if ALL or d.how == "dropped" or d.column is None], ids=str)
def test_schema_apply_mends_it_or_says_that_it_cannot(worlds: Worlds, drift: Drift) -> None:
    assert "\n".join(mended(worlds, drift)) == ""

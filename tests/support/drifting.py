"""Databases that things have drifted from, for every test of drift: a plugin, so that its fixtures need no import."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import configured
from conftest import SHAPES
from drift_verdicts import Worlds
from drift_world import CARDS, copies, world


@pytest.fixture(scope="module")
def made_worlds(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """One of each shape, which nobody changes."""
    with copies(server_url) as some:
        yield Worlds(some, lambda shape: world(shape, SHAPES[shape], tmp_path_factory.mktemp(shape)))


@pytest.fixture
def worlds(made_worlds: Worlds, tmp_path: Path) -> Worlds:
    """The same, with settings in the current folder."""
    configured(tmp_path, rates=CARDS)
    return made_worlds

"""Fixtures of every law that starts from the night (tests/support/night.py): it is made once, and never touched."""

from collections.abc import Callable, Iterator

import night as world
import pytest
from conftest import Databases
from killing import copies
from night import Night


@pytest.fixture(scope="session")
def night(databases: Databases) -> Iterator[Night]:
    """Before its run; what an undisturbed one does."""
    made = world.made(databases)
    yield made
    databases.retire([made.url])


@pytest.fixture
def copy(databases: Databases, night: Night) -> Iterator[Callable[[], str]]:
    """copy(): the URL of a new database as before the night's run."""
    with copies(databases, night.name) as made:
        yield made

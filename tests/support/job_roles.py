"""Fixtures of the tests of a role of the job's own: databases for who owns them, and the role that may work in them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import configured
from drift_world import CARDS
from role_world import Roles, roles


@pytest.fixture(scope="module")
def role_databases(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    with pytest.MonkeyPatch.context() as patch, roles(server_url, tmp_path_factory.mktemp("role")) as some:
        patch.chdir(some.directory)
        some.copies.drop(some.copy("a"))
        yield some


@pytest.fixture
def owner(role_databases: Roles, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of shape A for who owns it."""
    configured(tmp_path, rates=CARDS)
    role_databases.directory = tmp_path
    url = role_databases.copy("a")
    yield url
    role_databases.copies.drop(url)


@pytest.fixture
def role(role_databases: Roles) -> str:
    return role_databases.role("a")

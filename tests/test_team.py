"""Connections side by side: what they find comes out once, and whatever stops one of them stops them all."""

from collections.abc import Iterator
from itertools import count
from threading import Event

import psycopg
import pytest
from commands import ask

from jobs.model.errors import UsageJobsError
from jobs.store.address import Address
from jobs.store.database import Link
from jobs.store.team import AHEAD, Team, side_by_side


@pytest.fixture
def team(database: str) -> Iterator[Team]:
    with Link(Address(database)) as link, Team(link) as made:
        made.grow(Address(database), "usage-jobs test", 3)
        yield made


def doubled(link: Link, item: int) -> Iterator[int]:
    for _ in range(2):
        row = link.connection.execute("SELECT %s * 2", [item]).fetchone()
        assert row is not None
        yield row[0]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_everything_comes_out(team: Team, size: int) -> None:
    found = list(side_by_side(team.others[:size], doubled, range(50)))
    assert sorted(found) == sorted([2 * n for n in range(50)] * 2)


def test_what_one_raises_is_raised_once_all_have_stopped(team: Team) -> None:
    def work(link: Link, item: int) -> Iterator[int]:
        if item == 7:
            link.connection.execute("SELECT 1 / 0")
        yield item

    with pytest.raises(psycopg.errors.DivisionByZero):
        list(side_by_side(team.others, work, count()))
    assert [link.connection.execute("SELECT 1").fetchone() for link in team.others] == [(1,)] * 3


def test_nobody_finds_more_than_somebody_takes(team: Team) -> None:
    seen: list[int] = []

    def work(_: Link, item: int) -> Iterator[int]:
        for number in range(1000):
            seen.append(number)
            yield item

    found = side_by_side(team.others, work, count())
    for _ in range(10):
        next(found)
    found.close()
    assert len(seen) <= 10 + 3 * (AHEAD + 2)


def test_whoever_stops_taking_ends_those_who_wait_for_the_server(database: str, team: Team) -> None:
    waiting = Event()

    def work(link: Link, item: int) -> Iterator[int]:
        yield item
        waiting.set()
        link.connection.execute("SELECT pg_sleep(600)")

    found = side_by_side(team.others, work, range(3))
    next(found)
    assert waiting.wait(60)
    found.close()
    with pytest.raises(UsageJobsError, match="the run has ended"):
        assert team.others[0].connection
    assert team.link.connection.execute("SELECT 1").fetchone() == (1,)
    alive = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    ask(database, alive.replace("count(*) AS n", "pg_terminate_backend(pid) AS n"))

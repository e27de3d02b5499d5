"""Users of whom the ledger is not asked are drawn as if it had been."""

from collections.abc import Callable, Iterator

import night as world
import psycopg
import pytest
from commands import ask
from conftest import Databases
from killing import Tables, copies, differing, named, tables
from night import BOOKED, LAST_DAY, TODAY
from wire import Statement, Verdict

from jobs import reading
from jobs.model.report import Report

ASKED = 'FROM "rollup"."credit_draws" WHERE (usage_date'
LOCKED = "FOR NO KEY UPDATE"


@pytest.fixture(scope="module")
def booked(databases: Databases) -> Iterator[str]:
    """The night's database after its first run; nothing has changed since."""
    url = world.filled(databases)
    world.run(url, BOOKED)
    yield url
    databases.retire([url])


@pytest.fixture
def copy(databases: Databases, booked: str) -> Iterator[Callable[[], str]]:
    with copies(databases, named(booked)) as made:
        yield made


@pytest.fixture
def next_day(copy: Callable[[], str]) -> Callable[[], str]:
    """A copy with one more day of usage."""

    def made() -> str:
        url = copy()
        with psycopg.connect(url) as connection:
            world._use(connection, [LAST_DAY])
        return url

    return made


def asking(url: str, at: Callable[[Statement], object] = lambda _: None) -> tuple[Report, int]:
    """A run, and how often it asks the ledger for draws."""
    asked = []

    def hook(statement: Statement) -> Verdict:
        at(statement)
        if ASKED in statement.text and "EXISTS" not in statement.text:
            asked.append(statement)
        return Verdict.PASS

    return world.wired(url, hook), len(asked)


def thoroughly(url: str, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """What a run leaves that asks the ledger of everybody."""
    with monkeypatch.context() as patched:
        patched.setattr(reading, "_has_to_be_asked", lambda *_: True)
        report, asked = asking(url)
    assert asked, report
    return tables(url)


def test_where_nothing_changed_nobody_is_asked_for(copy: Callable[[], str]) -> None:
    url = copy()
    report, asked = asking(url)
    assert (asked, report.rows_changed) == (0, 0)


def test_a_new_day_is_drawn_without_asking(next_day: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    url = next_day()
    report, asked = asking(url)
    assert asked == 0
    assert report.changed["credit_draws"] > 0
    assert differing(tables(url), thoroughly(next_day(), monkeypatch)) == []


@pytest.mark.parametrize(
    ("change", "times"),
    [
        ("UPDATE usage_daily SET cpu_hours = cpu_hours + 1 WHERE user_id = 'ann' AND date = '2026-05-31'", 1),
        ("UPDATE usage_daily SET date = '2026-06-01' WHERE user_id = 'ben' AND date = '2026-05-31'", 1),
        ("UPDATE usage_daily SET credits_deducted = 7 WHERE user_id = 'cy' AND date = '2026-05-31'", 1),
        ("UPDATE user_credits SET total_purchased = 500 WHERE user_id = 'eve'", 1),
        ("DELETE FROM usage_daily WHERE user_id = 'cy'", 1),
        ("UPDATE users SET billing_mode = 'prepaid' WHERE id = 'fay'", 0),
        ("UPDATE rollup.user_monthly SET total_cost = total_cost + 1 WHERE user_id = 'ann'", 1),
        ("DELETE FROM rollup.user_monthly WHERE user_id = 'ann'; DELETE FROM usage_daily WHERE user_id = 'ann'", 1),
        ("UPDATE rollup.months SET rates_hash = 'another'", 1),
    ],
)
def test_whoever_moved_is_asked_for(
    next_day: Callable[[], str], monkeypatch: pytest.MonkeyPatch, change: str, times: int
) -> None:
    one, two = next_day(), next_day()
    for url in (one, two):
        ask(url, change)
    _, asked = asking(one)
    assert bool(asked) == bool(times)
    assert differing(tables(one), thoroughly(two, monkeypatch)) == []


def everybody_buys(url: str) -> None:
    for user, (_, _, purchased) in world.MONEY.items():
        if purchased is not None:
            world.buy(url, user)


def test_credit_bought_before_the_lock_counts(next_day: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    url, bought = next_day(), list[Statement]()

    def buys(statement: Statement) -> None:
        if LOCKED in statement.text and not bought:
            bought.append(statement)
            everybody_buys(url)

    _, asked = asking(url, buys)
    assert bought
    assert asked, "of who bought"
    world.run(url)  # whoever had nothing due was not locked: what they bought is for the next run
    other = next_day()
    everybody_buys(other)
    expected = dict(thoroughly(other, monkeypatch))
    del expected["credit_transactions"], expected["credit_draws"]  # which tell in what order it came
    assert differing(tables(url), expected) == []


def test_a_draw_that_is_not_a_rows_first(next_day: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn and given back before: the ledger has two rows of it, and nothing else shows them."""
    one, two = next_day(), next_day()
    for url in (one, two):
        ask(
            url,
            "INSERT INTO rollup.credit_draws (usage_daily_id, user_id, revision, usage_date, free, purchased, run_id)"
            " SELECT id, user_id, n, date, 0, 3 - 2 * n, 1 FROM usage_daily, generate_series(1, 2) AS n"
            " WHERE user_id = 'hal' AND date = %s",
            LAST_DAY,
        )
    _, asked = asking(one)
    assert asked, "once the key has told"
    assert differing(tables(one), thoroughly(two, monkeypatch)) == []
    assert TODAY > LAST_DAY

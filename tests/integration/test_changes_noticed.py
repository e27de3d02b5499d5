"""Every kind of change is noticed by the next run, and only the users concerned are computed again.

A database that a run has just covered holds a team of six users for each change of a kind. Each team's change is done,
and one run follows. Then the same run changes nothing, a full run changes nothing, `reconcile` finds nothing, and a
full run that starts afresh comes to the same results. What changes for everybody, as settings do, is tried alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from commands import HEADER, ask
from conftest import Databases
from fresh_start import forget_open_months, outcome
from job_runs import Runner, copied, differences, rows_by_key
from six_users import (
    DAY,
    EVERYBODY,
    NEW,
    NORTH,
    OVERRIDE,
    RATES,
    SOUTH,
    USERS,
    made,
    name_in_team,
    of_team,
    row_id,
    runner,
)

from jobs.domain.run_report import Report

NOBODY: frozenset[str] = frozenset()
ADA, BOB, CYD, EVE, FAY = (frozenset({name}) for name in ("ada", "bob", "cyd", "eve", "fay"))
DRAWN = ADA | BOB | EVE
"""Prepaid users."""
LINES = RATES.splitlines(keepends=True)[1:]
COLUMNS = ("cpu_hours", "gpu_hours", "storage_gb", "feature_store_api_calls", "model_inference_calls")
MOVE = (
    "WITH moved AS (UPDATE user_credits SET {column} = {column} + {amount} WHERE user_id = '{user}' RETURNING"
    " total_purchased + free_credits_granted - total_used - free_credits_used AS balance) INSERT INTO"
    " credit_transactions (user_id, type, amount, balance_before, balance_after, created_at)"
    " SELECT '{user}', '{kind}', {worth}, balance - ({worth}), balance, clock_timestamp() FROM moved"
)
BALANCED = "total_purchased = total_purchased + {0}, free_credits_granted = free_credits_granted - {0}"


@dataclass(frozen=True)
class Change:
    """What other programs or the operator change, of the first team. ``users``: who must be computed again; with
    ``at_most`` it may be fewer, where the results do not depend on it. ``days``: new days that the next run covers."""

    name: str
    sql: str = ""
    users: frozenset[str] = NOBODY
    at_most: bool = False
    world: str = "recorded"
    env: Mapping[str, str] = field(default_factory=dict)
    rates: str = RATES
    days: int = 0
    only_usage: bool = False


def row(user: str, number: int) -> str:
    return f"id = '{row_id(user, number)}'"


def change_row(assignments: str, user: str = "ada", number: int = 4) -> str:
    return f"UPDATE usage_daily SET {assignments} WHERE {row(user, number)}"


def exchange(column: str, one: UUID, other: UUID) -> str:
    """Two rows exchange what they hold in a column."""
    return (
        f"UPDATE usage_daily AS u SET {column} = o.{column} FROM usage_daily AS o"
        f" WHERE (u.id, o.id) IN (('{one}', '{other}'), ('{other}', '{one}'))"
    )


def insert_row(user: str | None, day: str, quantity: str = "5") -> str:
    owner = "NULL" if user is None else f"'{user}'"
    return f"INSERT INTO usage_daily (user_id, date, cpu_hours) VALUES ({owner}, '{day}', {quantity})"


def insert_override(user: str, meter: str, since: str, price: str = "0.01") -> str:
    names = "user_id, resource_type, override_price, valid_from"
    return f"INSERT INTO user_pricing_overrides ({names}) VALUES ('{user}', '{meter}', {price}, '{since}')"


def change_override(assignments: str) -> str:
    return f"UPDATE user_pricing_overrides SET {assignments} WHERE id = '{OVERRIDE}'"


def move(user: str, column: str, amount: int, kind: str) -> str:
    worth = -amount if column == "total_used" else amount
    return MOVE.format(user=user, column=column, amount=amount, kind=kind, worth=worth)


def rates(line: str) -> str:
    return RATES + line + ",list\n"


ROWS = [
    Change("a row inserted", insert_row("ada", "2026-06-12"), ADA),
    Change("a row inserted in the month before", insert_row("ada", "2026-05-12"), ADA),
    Change("a row of a new user", insert_row(NEW, "2026-06-12"), frozenset({NEW})),
    Change("a row inserted after the covered days", insert_row("ada", "2026-06-21"), NOBODY),
    Change("a row inserted before the open months", insert_row("ada", "2026-04-12"), NOBODY),
    # Bob's price of his own has no end: with each new day it is for one day more.
    Change("a row inserted on a new day", insert_row("ada", "2026-06-21"), ADA | BOB, at_most=True, days=1),
    Change("a new day without a row", "", BOB, at_most=True, days=1),
    Change("a row inserted without a user", insert_row(None, "2026-06-12"), NOBODY),
    Change("a row inserted with an infinite date", insert_row("ada", "infinity"), ADA, at_most=True),
    Change("a row inserted that is rejected", insert_row("ada", "2026-06-12", "-1"), ADA),
    Change("a row inserted of quantities that are null", insert_row("ada", "2026-06-12", "NULL"), ADA),
    Change("a row deleted", f"DELETE FROM usage_daily WHERE {row('ada', 4)}", ADA),
    Change("all rows of a user deleted", "DELETE FROM usage_daily WHERE user_id = 'ada'", ADA),
    Change("a user's rows of a month deleted",
           "DELETE FROM usage_daily WHERE user_id = 'cyd' AND date < '2026-06-01'", CYD),
    *(Change(f"{column} changed", change_row(f"{column} = 17", number=6), ADA) for column in COLUMNS),
    *(Change(f"{column} becomes null", change_row(f"{column} = NULL", number=6), ADA) for column in COLUMNS),
    Change("null becomes 0", change_row("model_inference_calls = 0", number=4), ADA, at_most=True),
    Change("0 becomes null", change_row("model_inference_calls = NULL", number=5), ADA, at_most=True),
    Change("a quantity becomes NaN", change_row("gpu_hours = 'NaN'"), ADA),
    Change("a quantity becomes negative", change_row("gpu_hours = -1"), ADA),
    Change("a rejected row is healed", change_row("cpu_hours = 4", "fay", 3), FAY),
    Change("a rejected row is rejected for another reason", change_row("cpu_hours = 1, gpu_hours = -1", "fay", 3), FAY),
    Change("a change beyond the tenth place", change_row("cpu_hours = cpu_hours + 0.00000000004"), ADA, at_most=True),
    Change("a change in the tenth place", change_row("cpu_hours = cpu_hours + 0.0000000001"), ADA),
    Change("a recorded cost changed", change_row("total_cost = 2.25", number=2), ADA),
    Change("a recorded cost set", change_row("total_cost = 0.75", number=4), ADA),
    Change("a recorded cost taken away", change_row("total_cost = NULL", number=2), ADA),
    Change("a recorded cost of 0 becomes null", change_row("total_cost = NULL", number=3), ADA, at_most=True),
    Change("moved to another user", change_row("user_id = 'bob'"), ADA | BOB),
    Change("moved to nobody", change_row("user_id = NULL"), ADA),
    Change("moved to another day", change_row("date = '2026-06-11'"), ADA),
    Change("moved to the other open month", change_row("date = '2026-05-11'"), ADA),
    Change("moved after the covered days", change_row("date = '2026-06-25'"), ADA),
    Change("moved before the open months", change_row("date = '2026-04-11'"), ADA),
    Change("moved to no day", change_row("date = NULL"), ADA),
    Change("moved to another cluster", change_row(f"hopsworks_cluster_id = '{NORTH}'"), ADA),
    Change("moved to no cluster", change_row("hopsworks_cluster_id = NULL"), ADA),
    Change("moved to a cluster that nobody knows", change_row(f"hopsworks_cluster_id = '{OVERRIDE}'"), ADA),
    Change("another id", change_row(f"id = '{row_id('ada', 9)}'"), ADA),
    Change("a column that is not used", change_row("created_at = '2020-01-01'"), NOBODY),
    Change("written with the same values", change_row("cpu_hours = cpu_hours"), NOBODY),
    Change("two users exchange a row", exchange("user_id", row_id("ada", 4), row_id("cyd", 4)), ADA | CYD),
    Change("two rows exchange a quantity", exchange("cpu_hours", row_id("ada", 4), row_id("ada", 6)), ADA),
    Change("two rows exchange a day", exchange("date", row_id("ada", 4), row_id("ada", 6)), ADA),
    Change("two rows exchange a cluster", exchange("hopsworks_cluster_id", row_id("ada", 4), row_id("ada", 6)), ADA),
    Change("two users' rows exchange a quantity", exchange("cpu_hours", row_id("ada", 4), row_id("cyd", 6)), ADA | CYD),
]  # fmt: skip
OVERRIDES = [
    Change("an override added", insert_override("ada", "cpu_hours", "2026-06-01"), ADA),
    Change("an override added for some days", insert_override("ada", "storage_gb", "2026-06-15"), ADA),
    Change("an override added for later days", insert_override("ada", "cpu_hours", "2026-07-15"), NOBODY),
    Change("an override of a user without usage", insert_override(NEW, "cpu_hours", "2026-06-01"), NOBODY),
    Change("an override's price edited", change_override("override_price = 0.06"), BOB),
    Change("an override becomes a discount", change_override("override_price = NULL, discount_percentage = 50"), BOB),
    Change("an override begins later", change_override("valid_from = '2026-06-15'"), BOB),
    Change("an override expired", change_override("valid_until = '2026-06-15'"), BOB),
    Change("an override will expire", change_override("valid_until = '2026-07-15'"), NOBODY),
    Change("an override is for another meter", change_override("resource_type = 'gpu_hours'"), BOB),
    Change("an override is for another user", change_override("user_id = 'cyd'"), BOB | CYD),
    Change("an override's reason edited", change_override("reason = 'as agreed'"), NOBODY),
    Change("an override deleted", f"DELETE FROM user_pricing_overrides WHERE id = '{OVERRIDE}'", BOB),
]  # fmt: skip
CREDITS = [
    Change("a purchase", move("ada", "total_purchased", 2, "purchase"), ADA),
    Change("a grant", move("ada", "free_credits_granted", 2, "grant"), ADA),
    Change("a refund of what was purchased", move("ada", "total_purchased", -1, "refund"), ADA),
    Change("spent elsewhere", move("ada", "total_used", 1, "usage"), ADA),
    Change("a purchase that changes no draw", move("bob", "total_purchased", 2, "purchase"), BOB, at_most=True),
    Change("an account edited by hand", f"UPDATE user_credits SET {BALANCED.format(1)} WHERE user_id = 'ada'", ADA),
    Change("an account opened", "INSERT INTO user_credits (user_id, total_purchased) VALUES ('eve', 3)", EVE),
    Change("an account of a user who is not drawn",
           "INSERT INTO user_credits (user_id, total_purchased) VALUES ('cyd', 3)", CYD, at_most=True),
    Change("a column of an account that is not read",
           "UPDATE user_credits SET cpu_hours_used = 7 WHERE user_id = 'ada'"),
    Change("a billing mode switched without a new day", "UPDATE users SET billing_mode = 'postpaid' WHERE id = 'ada'"),
    Change("a billing mode switched for a new day", "UPDATE users SET billing_mode = 'postpaid' WHERE id = 'ada'",
           ADA | BOB, at_most=True, days=1),
    Change("the row of a user deleted", "DELETE FROM users WHERE id = 'ada'"),
    Change("another column of users",
           "UPDATE users SET email = 'ada@example.org', status = 'suspended' WHERE id = 'ada'"),
    Change("a deduction reset to 0", change_row("credits_deducted = 0", number=1), ADA, only_usage=True),
    Change("a deduction reset to null", change_row("credits_deducted = NULL", number=1), ADA, only_usage=True),
    Change("deductions of two users exchanged", exchange("credits_deducted", row_id("ada", 1), row_id("bob", 1)),
           ADA | BOB, at_most=True),
    Change("0 becomes null, nothing deducted", change_row("credits_deducted = NULL", "cyd"), CYD, at_most=True),
    Change("rows reported",
           "UPDATE usage_daily SET reported_to_stripe = true WHERE user_id = 'ada' AND date < '2026-06-10'", ADA,
           world="b"),
    Change("a row of a postpaid user reported", change_row("reported_to_stripe = true", "cyd"), CYD, world="b"),
    Change("false becomes null in reported_to_stripe", change_row("reported_to_stripe = NULL", "cyd"), CYD,
           at_most=True, world="b"),
]  # fmt: skip
RATED = [
    Change("our own cost overwritten", change_row("total_cost = 99"), ADA, world="rated", only_usage=True),
    Change("our own cost reset to 0", change_row("total_cost = 0"), ADA, world="rated", only_usage=True),
    Change("our own cost reset to null", change_row("total_cost = NULL"), ADA, world="rated", only_usage=True),
    Change("two rows exchange our own cost", exchange("total_cost", row_id("ada", 4), row_id("ada", 6)), ADA,
           world="rated", only_usage=True),
    Change("a quantity where cost is ours", change_row("cpu_hours = 17"), ADA, world="rated"),
]  # fmt: skip
CARDS = [
    Change("a line of the card changed", rates=RATES.replace(",0,0.50", ",0,0.60"), users=EVERYBODY, at_most=True),
    Change("a line from the middle of the month", rates=rates("cpu_hours,2026-06-15,0,0.20,1"), users=EVERYBODY,
           at_most=True),
    Change("a tier moved", rates=RATES.replace("2020-01-01,10,", "2020-01-01,13,"), users=EVERYBODY, at_most=True),
    Change("lines in another order, one for a month to come, one that a later one has replaced",
           rates=HEADER + "".join(LINES[2:] + LINES[:2]) + "cpu_hours,2026-07-01,0,0.20,1,list\n"
           "gpu_hours,2019-01-01,0,0.20,1,list\n"),
]  # fmt: skip
SETTINGS = [
    Change("tiers by month", env={"TIERS": "month"}, users=EVERYBODY, at_most=True),
    Change("a cost of 0 is free", env={"ZERO_MEANS": "free"}, users=EVERYBODY, at_most=True),
    Change("a lower limit of quantities", env={"MAX_QUANTITY": "1550"}, users=EVERYBODY, at_most=True),
    Change("credits start later", env={"CREDITS__START": "2026-06-05"}, users=EVERYBODY, at_most=True),
    Change("another scale", env={"CURRENCY_SCALE": "0"}, users=EVERYBODY, at_most=True),
    Change("a feature flag asked for on a new day", env={"CREDITS__FEATURE_FLAG": "other"}, users=DRAWN,
           at_most=True, days=1),
    Change("a feature flag asked for without a new day", env={"CREDITS__FEATURE_FLAG": "other"}, users=EVERYBODY,
           at_most=True),
    Change("other batches", env={"BATCH_ROWS": "2", "BATCH_WRITES": "1", "WORKERS": "1", "READER": "copy"}),
]  # fmt: skip
CLUSTERS = [
    Change("a cluster renamed", f"UPDATE hopsworks_clusters SET name = 'new' WHERE id = '{NORTH}'"),
    Change("a cluster without a name", f"UPDATE hopsworks_clusters SET name = NULL WHERE id = '{NORTH}'"),
    Change("a cluster deleted", f"DELETE FROM hopsworks_clusters WHERE id = '{SOUTH}'"),
    Change("another column of a cluster", f"UPDATE hopsworks_clusters SET max_users = 7 WHERE id = '{NORTH}'"),
]
SIDE_BY_SIDE = [*ROWS, *OVERRIDES, *CREDITS, *RATED, *CLUSTERS]
ALONE = [*CARDS, *SETTINGS]
WORLDS = {"recorded": ("a", "recorded"), "rated": ("a", "rated"), "b": ("b", "recorded")}
"""Shape and cost mode by name."""


@pytest.fixture(scope="module")
def worlds(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of the database of a name, made on first use; to be copied, not changed."""
    known: dict[str, str] = {}

    def world(name: str) -> str:
        if name not in known:
            shape, cost = WORLDS[name]
            job = runner(tmp_path_factory.mktemp(name), COST=cost)
            known[name] = made(databases, shape, job)
        return known[name]

    yield world
    databases.retire(list(known.values()))


@pytest.fixture
def copy(databases: Databases, worlds: Callable[[str], str]) -> Iterator[Callable[[str], str]]:
    """The URL of a copy of a world."""
    urls: list[str] = []

    def made_copy(name: str) -> str:
        urls.append(copied(databases, worlds(name)))
        return urls[-1]

    yield made_copy
    databases.retire(urls)


@pytest.fixture
def make_teams(databases: Databases) -> Iterator[Callable[[str, int, Runner], str]]:
    """make_teams(world, number, job): the URL of a world with so many teams of six users."""
    urls: list[str] = []

    def make(world: str, number: int, job: Runner) -> str:
        urls.append(made(databases, WORLDS[world][0], job, number))
        return urls[-1]

    yield make
    databases.retire(urls)


def run_ids(url: str) -> dict[tuple[object, ...], int]:
    """Which run wrote each row of user_monthly, by user and month."""
    return {key: found["run_id"] for key, found in rows_by_key(url, "user_monthly", "user_id", "month").items()}


def change(url: str, text: str) -> None:
    with psycopg.connect(url) as link:
        if text:
            link.execute(text.encode())


def is_final(job: Runner, url: str, day: date, report: Report) -> None:
    """Nothing is left to do, every invariant holds, and a full run that starts afresh comes to the same."""
    again = job.run(url, day)
    assert (again.rows_changed, again.users_recomputed, again.rows_read) == (0, 0, 0), dict(again.changed)
    full = job.run(url, day, full=True)
    assert full.rows_changed == 0, dict(full.changed)
    assert not job.broken_invariants(url)
    first, last = report.window_from, report.window_to
    found = outcome(url, first, last)
    forget_open_months(url, first, last)
    job.run(url, day, full=True)
    assert not differences(outcome(url, first, last), found)


@pytest.mark.database
@pytest.mark.parametrize(("world", "days"), [("recorded", 0), ("recorded", 1), ("rated", 0), ("b", 0)])
def test_changes_are_noticed(
    world: str, days: int, make_teams: Callable[[str, int, Runner], str], tmp_path: Path
) -> None:
    cases = [case for case in SIDE_BY_SIDE if (case.world, case.days) == (world, days)]
    job, day = runner(tmp_path, COST=WORLDS[world][1]), DAY + timedelta(days=days)
    url = make_teams(world, len(cases), job)
    before = run_ids(url)
    change(url, ";".join(of_team(case.sql, team) for team, case in enumerate(cases)))
    report = job.run(url, day)
    written = users_written(before, run_ids(url))
    least = most = 0
    for team, case in enumerate(cases):
        concerned = {name_in_team(user, team) for user in case.users}
        found = written & {name_in_team(user, team) for user in (*USERS, NEW)}
        assert found <= concerned, f"{case.name}: only who is concerned is written"
        assert case.at_most or case.only_usage or found == concerned, f"{case.name}: who is concerned is written"
        most += len(concerned)
        least += 0 if case.at_most else len(concerned)
    assert least <= report.users_recomputed <= most
    is_final(job, url, day, report)


@pytest.mark.database
@pytest.mark.parametrize("case", ALONE, ids=[case.name for case in ALONE])
def test_a_change_for_everybody_is_noticed(case: Change, copy: Callable[[str], str], tmp_path: Path) -> None:
    url, day = copy(case.world), DAY + timedelta(days=case.days)
    before = run_ids(url)
    job = runner(tmp_path, rates=case.rates, **case.env)
    report = job.run(url, day)
    written = users_written(before, run_ids(url))
    assert written <= case.users, "only who is concerned is written"
    assert len(written) <= report.users_recomputed <= len(case.users)
    is_final(job, url, day, report)


def users_written(before: dict[tuple[object, ...], int], after: dict[tuple[object, ...], int]) -> set[str]:
    """Of whom a run wrote a month, by what ``run_ids`` were before and after it."""
    return {str(key[0]) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.mark.database
def test_a_renamed_cluster_is_renamed_in_the_open_months(copy: Callable[[str], str], tmp_path: Path) -> None:
    url, job = copy("recorded"), runner(tmp_path)
    change(url, f"UPDATE hopsworks_clusters SET name = 'new' WHERE id = '{NORTH}'")
    assert (job.run(url, DAY).users_recomputed, names_of(url, "cluster_daily")) == (0, {"new", "south", None})
    assert names_of(url, "cluster_monthly") == {"new", "south", None}


def names_of(url: str, table: str) -> set[str | None]:
    return {found["cluster_name"] for found in ask(url, f"SELECT cluster_name FROM rollup.{table}")}


@pytest.mark.thorough
@pytest.mark.database
@pytest.mark.parametrize(
    ("switch", "back", "flag"),
    [
        ("billing_mode = 'postpaid'", "billing_mode = 'prepaid'", {}),
        ("feature_flags = '{}'", "feature_flags = '{\"prepaid\": true}'", {"CREDITS__FEATURE_FLAG": "prepaid"}),
    ],
    ids=["billing mode", "feature flag"],
)
def test_how_a_user_pays_is_switched_and_back(
    switch: str, back: str, flag: dict[str, str], copy: Callable[[str], str], tmp_path: Path
) -> None:
    """Each by the next run that covers a new day, with usage on that day; each day keeps how it was paid for."""
    url, job = copy("recorded"), runner(tmp_path, **flag)
    change(url, f"UPDATE users SET {switch} WHERE id = 'bob'")
    assert job.run(url, DAY).rows_changed == 0, "a run without a new day notes nothing"
    for days, assignment in ((1, switch), (2, back)):
        change(url, f"UPDATE users SET {assignment} WHERE id = 'bob'")
        day = DAY + timedelta(days=days)
        change(url, insert_row("bob", day.isoformat(), "20"))
        assert job.run(url, day).users_recomputed == 1, "only bob"
    due = ask(url, "SELECT amount_due FROM rollup.user_monthly WHERE user_id = 'bob' AND month = '2026-06-01'")
    # His own price, 0.05 for each of 20 hours.
    assert due == [{"amount_due": 1}], "one of the two days is due, the other is drawn"
    is_final(job, url, day, job.run(url, day))


@pytest.mark.thorough
@pytest.mark.database
def test_switched_and_back_between_two_runs(copy: Callable[[str], str], tmp_path: Path) -> None:
    url, job = copy("recorded"), runner(tmp_path)
    for mode in ("postpaid", "prepaid"):
        change(url, f"UPDATE users SET billing_mode = '{mode}' WHERE id = 'ada'")
    report = job.run(url, DAY + timedelta(days=1))
    assert report.users_recomputed <= len(BOB), "his price without an end is for one day more"
    is_final(job, url, DAY + timedelta(days=1), report)


@pytest.mark.thorough
@pytest.mark.database
def test_a_row_of_the_roll_up_that_is_gone_comes_back(copy: Callable[[str], str], tmp_path: Path) -> None:
    """user_monthly is what usage is compared with: a user who is missing there has never been computed."""
    url, job = copy("recorded"), runner(tmp_path)
    before = outcome(url, DAY.replace(day=1), DAY)
    change(url, "DELETE FROM rollup.user_monthly WHERE user_id = 'ada' AND month = '2026-06-01'")
    report = job.run(url, DAY)
    assert report.users_recomputed == 1
    assert not differences(before, outcome(url, DAY.replace(day=1), DAY))
    is_final(job, url, DAY, report)


@pytest.mark.thorough
@pytest.mark.database
def test_a_cost_of_0_that_was_written_comes_back(copy: Callable[[str], str], tmp_path: Path) -> None:
    """Where the job writes costs, a null is not the 0 that it has written."""
    url, job = copy("rated"), runner(tmp_path, COST="rated")
    nothing = ", ".join(f"{column} = 0" for column in COLUMNS)
    change(url, change_row(nothing))
    job.run(url, DAY)
    change(url, change_row("total_cost = NULL"))
    report = job.run(url, DAY)
    assert (report.users_recomputed, report.changed["usage_daily"]) == (1, 1)
    assert ask(url, f"SELECT total_cost FROM usage_daily WHERE {row('ada', 4)}") == [{"total_cost": 0}]
    is_final(job, url, DAY, report)


@pytest.mark.thorough
@pytest.mark.database
def test_a_cost_mode_is_of_months_to_come(copy: Callable[[str], str], tmp_path: Path) -> None:
    """A month keeps the cost mode of the first run that covered it."""
    url = copy("recorded")
    report = runner(tmp_path, COST="rated").run(url, DAY)
    assert (report.users_recomputed, report.rows_changed) == (0, 0)
    is_final(runner(tmp_path), url, DAY, report)


@pytest.mark.database
def test_closed_months_are_left_alone(copy: Callable[[str], str], tmp_path: Path) -> None:
    """What changes in a month that has closed is for `watch` and a backfill; nobody is computed for it."""
    url, job = copy("recorded"), runner(tmp_path, settings="")
    job.run(url, DAY)
    assert [found["month"] for found in ask(url, "SELECT month FROM rollup.months WHERE closed_at IS NOT NULL")] == [
        date(2026, 5, 1)
    ]
    before = rows_by_key(url, "user_monthly", "user_id", "month")
    change(url, change_row("cpu_hours = 17", number=1))
    report = job.run(url, DAY)
    assert (report.users_recomputed, report.rows_changed) == (0, 0)
    assert rows_by_key(url, "user_monthly", "user_id", "month") == before

"""A client that holds a row or an account locked for the whole run delays the user whose it is, and nobody else.

The run goes on without that user, says so in a note, and ends with 0; the next run takes him. How long it waits for
him before it gives up is its own business, and not asserted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from uuid import UUID

import pytest
from commands import ask
from holding import holding
from many_users import fill_days, fill_users, user_id
from money_checks import wrong_days, wrong_money, wrong_months
from plain_runs import Runs
from purchases import bought

from jobs.domain.run_report import Report

USERS = 8
FIRST, DAY, NEXT = date(2026, 6, 17), date(2026, 6, 19), date(2026, 6, 20)
JUNE = date(2026, 6, 1)
PREPAID, POSTPAID = user_id(4), user_id(5)
RUNS = Runs({"USAGE_JOBS_COST": "rated", "USAGE_JOBS_START": "2026-06", "USAGE_JOBS_BATCH_ROWS": "9"})
"""Three days of three users are a batch."""
ROW = "SELECT id FROM usage_daily WHERE user_id = '{user}' AND date = '{day}' FOR UPDATE"
ACCOUNT = "SELECT user_id FROM user_credits WHERE user_id = '{user}' FOR UPDATE"


@pytest.fixture
def url(make_database: Callable[..., str]) -> str:
    """Eight users with three days each, of which no run has seen any."""
    url = make_database()
    RUNS.prepare(url)
    fill_users(url, USERS)
    fill_days(url, USERS, FIRST, DAY)
    return url


@contextmanager
def held(url: str, *locks: str) -> Iterator[None]:
    """``holding``, once the job's role has what it needs: granting waits for whoever uses the tables."""
    RUNS.address(url)
    with holding(url, *locks):
        yield


def users_written(url: str) -> dict[str, tuple[int, Decimal]]:
    """By user the rows and cost of June that the roll-up holds."""
    found = ask(url, "SELECT user_id, row_count, total_cost FROM rollup.user_monthly WHERE month = %s", JUNE)
    return {row["user_id"]: (row["row_count"], row["total_cost"]) for row in found}


def only_delayed(report: Report, *users: str) -> None:
    """Exit code 0, and a note that names these users and no other of ours."""
    assert report.exit_code == 0, report.notes
    named = {user_id(n) for n in range(1, USERS + 1) for note in report.notes if user_id(n) in note}
    assert named == set(users), report.notes


def is_right(url: str, last: date) -> None:
    """Everybody's figures are what the rows say, and a full run finds nothing to add."""
    assert RUNS.broken(url, last) == []
    assert wrong_money(url, JUNE) == {}
    assert wrong_months(url, JUNE, last) == []
    assert wrong_days(url, JUNE, last) == []
    assert RUNS.run(url, last, full=True).rows_changed == 0


FIRST_RUN = {
    "a row of a prepaid user": (PREPAID, ROW.format(user=PREPAID, day=DAY)),
    "a row of a postpaid user": (POSTPAID, ROW.format(user=POSTPAID, day=FIRST)),
    "an account": (PREPAID, ACCOUNT.format(user=PREPAID)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", FIRST_RUN)
def test_the_first_run_of_all_does_everybody_else(what: str, url: str) -> None:
    user, lock = FIRST_RUN[what]
    with held(url, lock):
        report = RUNS.run(url, DAY)
        assert users_written(url).keys() == {user_id(n) for n in range(1, USERS + 1)} - {user}
        assert wrong_months(url, JUNE, DAY, but=[user]) == []
        assert ask(url, "SELECT id FROM usage_daily WHERE user_id = %s AND total_cost IS NOT NULL", user) == []
        assert ask(url, "SELECT usage_daily_id FROM rollup.credit_draws WHERE user_id = %s", user) == []
    only_delayed(report, user)
    only_delayed(RUNS.run(url, DAY))
    assert user in users_written(url)
    is_right(url, DAY)


Change = Callable[[str], object]


def raise_hours(url: str) -> None:
    ask(url, "UPDATE usage_daily SET cpu_hours = 77 WHERE user_id = %s AND date = %s", PREPAID, DAY)


def insert_row(url: str) -> None:
    text = "INSERT INTO usage_daily (user_id, date, cpu_hours, hopsworks_cluster_id) VALUES (%s, %s, 5, %s)"
    ask(url, text, POSTPAID, DAY, UUID(int=1))


def buy_credit(url: str) -> None:
    bought(url, PREPAID, Decimal(3))


CHANGES: dict[str, tuple[str, Change, str]] = {
    "a row that changed": (PREPAID, raise_hours, ROW.format(user=PREPAID, day=DAY)),
    "a row that is new": (
        POSTPAID,
        insert_row,
        f"SELECT id FROM usage_daily WHERE user_id = '{POSTPAID}' AND cpu_hours = 5 FOR UPDATE",
    ),
    "the account of a user who bought": (PREPAID, buy_credit, ACCOUNT.format(user=PREPAID)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", CHANGES)
def test_a_later_run_leaves_that_user_as_he_was(what: str, url: str) -> None:
    """Each has something to be done about him, and so has another user, who gets it."""
    user, change, lock = CHANGES[what]
    other = user_id(2)
    RUNS.run(url, DAY)
    before = users_written(url)
    change(url)
    ask(url, "UPDATE usage_daily SET cpu_hours = 33 WHERE user_id = %s AND date = %s", other, DAY)
    with held(url, lock):
        report = RUNS.run(url, DAY)
        after = users_written(url)
    assert {name for name in before if before[name] != after[name]} == {other}
    assert wrong_months(url, JUNE, DAY, but=[user]) == []
    only_delayed(report, user)
    only_delayed(RUNS.run(url, DAY))
    is_right(url, DAY)


@pytest.mark.thorough
def test_a_new_day_is_done_for_everybody_else(url: str) -> None:
    """Two clients hold two users, in two ways; one of them is a batch's first, the other another's last."""
    RUNS.run(url, DAY)
    fill_days(url, USERS, NEXT, NEXT)
    delayed = {user_id(1), user_id(8)}
    with (
        held(url, ROW.format(user=user_id(1), day=NEXT)),
        held(url, ACCOUNT.format(user=user_id(8)), ROW.format(user=user_id(8), day=NEXT)),
    ):
        report = RUNS.run(url, NEXT)
        rows = {name: rows for name, (rows, _) in users_written(url).items()}
    assert rows == {user_id(n): 3 if user_id(n) in delayed else 4 for n in range(1, USERS + 1)}
    only_delayed(report, *delayed)
    only_delayed(RUNS.run(url, NEXT))
    is_right(url, NEXT)


NO_HINDRANCE = {
    # What a foreign key takes on the row that it refers to: whoever inserts a transaction of the user's.
    "a key share of an account": f"SELECT user_id FROM user_credits WHERE user_id = '{PREPAID}' FOR KEY SHARE",
    "a user": f"SELECT id FROM users WHERE id = '{PREPAID}' FOR UPDATE",
}


@pytest.mark.thorough
@pytest.mark.parametrize("what", NO_HINDRANCE)
def test_locks_that_are_in_nobodys_way_delay_nobody(what: str, url: str) -> None:
    with held(url, NO_HINDRANCE[what]):
        only_delayed(RUNS.run(url, DAY))
    is_right(url, DAY)


def test_rows_of_users_with_nothing_to_be_done_may_be_held(url: str) -> None:
    """Nobody is waited for in vain: the run has nothing to write there."""
    RUNS.run(url, DAY)
    with held(url, ROW.format(user=PREPAID, day=DAY), ACCOUNT.format(user=PREPAID)):
        report = RUNS.run(url, DAY)
    only_delayed(report)
    assert (report.rows_changed, report.rows_read, report.users_recomputed) == (0, 0, 0)


@pytest.mark.thorough
def test_a_month_does_not_close_over_a_user_who_could_not_be_had(make_database: Callable[..., str]) -> None:
    """It stays open, and the run says so and ends with 3; everybody else is done. The next run closes it whole."""
    url, last, closing = make_database(), date(2026, 6, 30), date(2026, 7, 3)
    RUNS.prepare(url)
    fill_users(url, USERS)
    fill_days(url, USERS, last, closing)
    RUNS.run(url, last)
    ask(url, "UPDATE usage_daily SET cpu_hours = 77 WHERE user_id = %s AND date = %s", PREPAID, last)
    state = "SELECT closed_at IS NOT NULL AS closed FROM rollup.months WHERE month = '2026-06-01'"
    with held(url, ROW.format(user=PREPAID, day=last)):
        report = RUNS.run(url, closing)
        assert ask(url, state) == [{"closed": False}]
        assert wrong_months(url, JUNE, last, but=[PREPAID]) == []
        assert wrong_months(url, date(2026, 7, 1), closing, but=[PREPAID]) == []
    assert report.exit_code == 3
    assert any("2026-06" in note or "June" in note for note in report.notes), report.notes
    assert any(PREPAID in note for note in report.notes), report.notes
    only_delayed(RUNS.run(url, closing))
    assert ask(url, state) == [{"closed": True}]
    assert wrong_months(url, JUNE, last) == []
    assert RUNS.broken(url, closing) == []
    assert wrong_months(url, date(2026, 7, 1), closing) == []

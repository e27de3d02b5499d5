"""What happens when the world moves while a run is at work: at the boundary between reading and writing."""

import os
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from commands import explicit
from server_day import server_day
from ways import job_url, owner_url

from jobs.domain.errors import LockedError
from jobs.domain.run_report import Report
from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import RunRequest
from jobs.postgres.conninfo import Address
from jobs.postgres.schema_script import apply_schema
from jobs.postgres.usage_writeback import ConcurrentChangeError
from jobs.settings import load

DAY = date(2026, 6, 20)
TODAY = date(2026, 6, 21)
FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))


def fill(url: str, *rows: tuple[UUID, str, str]) -> None:
    with psycopg.connect(url) as connection:
        for id_, user, hours in rows:
            connection.execute(
                "INSERT INTO usage_daily (id, user_id, date, cpu_hours) VALUES (%s, %s, %s, %s)",
                (id_, user, DAY, hours),
            )


def run(url: str, between: Callable[[], object] = lambda: None, cost: str = "rated") -> Report:
    """A run; ``between`` is called once, after all usage has been read and before anything is written."""
    settings = explicit(load(None, {"USAGE_JOBS_COST": cost, **os.environ}, Path.cwd()), url, DAY)
    apply_schema(settings, Address(owner_url(url)))
    called: list[str] = []

    def progress(stage: str, _done: int, _of: int | None) -> None:
        if stage == "compute and write" and not called:
            called.append(stage)
            between()

    with server_day(TODAY):
        return run_job(RunRequest(settings, Address(job_url(url, lambda: settings)), progress=progress))


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def costs(url: str) -> dict[UUID, Decimal | None]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT id, total_cost FROM usage_daily").fetchall())


def totals(url: str, table: str = "user_monthly", name: str = "user_id") -> dict[str, Decimal]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute(f"SELECT {name}, total_cost FROM rollup.{table}".encode()).fetchall())


def test_a_row_that_changed_since_it_was_read_is_priced_as_it_is_now(database: str) -> None:
    fill(database, (FIRST, "ann", "10"), (SECOND, "ben", "10"))
    report = run(database, lambda: execute(database, "UPDATE usage_daily SET cpu_hours = 30 WHERE user_id = 'ann'"))
    assert costs(database) == {FIRST: Decimal(3), SECOND: Decimal(1)}
    assert totals(database) == {"ann": Decimal(3), "ben": Decimal(1)}
    assert totals(database, "cluster_daily", "'all'") == {"all": Decimal(4)}
    assert report.changed["usage_daily"] == 2
    assert run(database).rows_changed == 0


def test_a_row_that_vanished_since_it_was_read_takes_its_cost_along(database: str) -> None:
    fill(database, (FIRST, "ann", "10"), (SECOND, "ann", "5"), (THIRD, "ben", "1"))
    run(database, lambda: execute(database, f"DELETE FROM usage_daily WHERE id = '{FIRST}'"))
    assert costs(database) == {SECOND: Decimal("0.5"), THIRD: Decimal("0.1")}
    assert totals(database) == {"ann": Decimal("0.5"), "ben": Decimal("0.1")}
    assert run(database).rows_changed == 0


def counts_once(url: str) -> None:
    """Each row's cost is in the roll-ups once: by user, by cluster, by month, and a further run changes nothing."""
    with psycopg.connect(url) as connection:
        sums = connection.execute(
            "SELECT (SELECT sum(total_cost) FROM usage_daily), (SELECT sum(total_cost) FROM rollup.user_monthly), "
            "(SELECT sum(total_cost) FROM rollup.cluster_daily), (SELECT sum(total_cost) FROM rollup.months)"
        ).fetchone()
    assert sums is not None
    assert len(set(sums)) == 1, sums
    assert run(url).rows_changed == 0


@pytest.fixture(params=["1", "1000000"], ids=["chunks of one user", "one chunk"])
def any_chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users of a move may be in one chunk or in two, in either order."""
    monkeypatch.setenv("USAGE_JOBS_BATCH_ROWS", request.param)


USERS = [("ann", "ben"), ("ben", "ann"), ("cy", "dora"), ("dora", "cy"), ("eve", "new")]


@pytest.mark.thorough
@pytest.mark.usefixtures("any_chunk")
@pytest.mark.parametrize(("giver", "taker"), USERS)
def test_a_row_that_moved_to_another_user_is_priced_for_the_new_one(database: str, giver: str, taker: str) -> None:
    fill(database, (FIRST, giver, "10"), (SECOND, "ben", "1"), (THIRD, taker, "3"))
    run(database, lambda: execute(database, f"UPDATE usage_daily SET user_id = '{taker}' WHERE id = '{FIRST}'"))
    assert costs(database) == {FIRST: Decimal(1), SECOND: Decimal("0.1"), THIRD: Decimal("0.3")}
    assert totals(database)[taker] == Decimal("1.3") + (Decimal("0.1") if taker == "ben" else 0)
    counts_once(database)


@pytest.mark.usefixtures("any_chunk")
@pytest.mark.parametrize(("giver", "taker"), USERS)
def test_a_row_that_needs_no_write_and_moves_to_a_changed_user_counts_once(
    database: str, giver: str, taker: str
) -> None:
    fill(database, (FIRST, taker, "10"), (SECOND, giver, "20"))
    execute(database, f"UPDATE usage_daily SET total_cost = 2 WHERE id = '{SECOND}'")
    moves = (
        f"UPDATE usage_daily SET cpu_hours = 11 WHERE id = '{FIRST}'",
        f"UPDATE usage_daily SET user_id = '{taker}' WHERE id = '{SECOND}'",
    )
    run(database, lambda: execute(database, *moves))
    assert totals(database) == {taker: Decimal("3.1")}
    counts_once(database)


@pytest.mark.usefixtures("any_chunk")
def test_a_row_that_turned_bad_is_rejected_and_one_that_healed_is_not(database: str) -> None:
    fill(database, (FIRST, "ann", "10"), (SECOND, "ann", "NaN"), (THIRD, "ben", "1"))
    swap = (
        f"UPDATE usage_daily SET cpu_hours = 'NaN' WHERE id = '{FIRST}'",
        f"UPDATE usage_daily SET cpu_hours = 5 WHERE id = '{SECOND}'",
    )
    report = run(database, lambda: execute(database, *swap))
    assert report.rows_rejected == 1
    assert totals(database) == {"ann": Decimal("0.5"), "ben": Decimal("0.1")}
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT usage_daily_id FROM rollup.rejects").fetchall() == [(FIRST,)]
    counts_once(database)


def test_updates_that_are_swallowed_end_the_run_instead_of_going_round_for_ever(database: str) -> None:
    fill(database, (FIRST, "ann", "10"))
    execute(
        database,
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER swallow BEFORE UPDATE ON usage_daily FOR EACH ROW EXECUTE FUNCTION swallow()",
    )
    with pytest.raises(ConcurrentChangeError, match="could not be written"):
        run(database)
    assert totals(database) == {}


def test_a_run_that_was_marked_crashed_stops_before_it_writes(database: str) -> None:
    fill(database, (FIRST, "ann", "10"))
    with pytest.raises(LockedError, match="another run has started"):
        run(database, lambda: execute(database, "UPDATE rollup.runs SET status = 'crashed'"))
    assert totals(database) == {}
    assert costs(database) == {FIRST: None}


@pytest.mark.parametrize("cost", ["recorded", "rated"])
def test_a_connection_that_breaks_between_read_and_write_is_made_anew(database: str, cost: str) -> None:
    fill(database, (FIRST, "ann", "10"))
    ours = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name ~ '^usage-jobs' AND state = 'idle' AND pid <> pg_backend_pid()"
    )
    run(database, lambda: execute(database, ours), cost)
    assert totals(database) == {"ann": Decimal(1)}
    assert run(database, cost=cost).rows_changed == 0


def test_the_run_lock_lost_in_mid_run_does_not_stop_a_run_that_nobody_replaced(database: str) -> None:
    fill(database, (FIRST, "ann", "10"))
    guard = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    run(database, lambda: execute(database, guard))
    assert totals(database) == {"ann": Decimal(1)}

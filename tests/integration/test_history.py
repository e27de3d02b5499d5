"""What earlier runs did decides what the next one covers: also those that died."""

from datetime import date

import psycopg
import pytest
from commands import add_usage, usage_jobs


def died(url: str, status: str) -> None:
    """A run up to 20 June that ended as ``status`` before it committed a chunk."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO rollup.runs (kind, window_from, window_to, status, version) "
            "VALUES ('run', '2026-05-01', '2026-06-20', %s, 'test')",
            [status],
        )


def last_days(url: str) -> list[date]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT window_to FROM rollup.runs ORDER BY run_id").fetchall()]


@pytest.mark.parametrize("status", ["running", "crashed", "failed"])
def test_a_run_that_died_before_it_committed_moves_no_window(database: str, status: str) -> None:
    assert usage_jobs("schema", "--apply", url=database).code == 0
    died(database, status)
    assert usage_jobs("run", "--date", "2026-05-20", url=database).code == 0
    assert last_days(database)[-1] == date(2026, 5, 20)


@pytest.mark.parametrize("status", ["running", "crashed"])
def test_a_day_that_a_run_committed_before_it_died_is_never_un_counted(database: str, status: str) -> None:
    assert usage_jobs("schema", "--apply", url=database).code == 0
    add_usage(database)
    assert usage_jobs("run", url=database).code == 0
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE rollup.runs SET status = %s, rows_changed = NULL", [status])
    assert usage_jobs("run", "--date", "2026-06-10", url=database).code == 0
    assert last_days(database) == [date(2026, 6, 20)] * 2

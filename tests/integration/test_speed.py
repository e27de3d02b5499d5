"""What `check` says of speed and memory, and that it says it truly."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from commands import DAY, add_usage, ask, usage_jobs
from psycopg import sql

from jobs.domain.schemas import DRAWS
from jobs.postgres import performance_checks, preflight
from jobs.postgres.connections import connect, prefer_indexes, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.sql_loader import compose
from jobs.postgres.table_io import stage_rows
from jobs.settings import load

INDEX, ROOM = "index on usage_daily (date)", "room on the pages of usage_daily"
BY_USER = "index on usage_daily (user_id, date)"


def found(url: str, **environment: Any) -> dict[str, dict[str, str]]:
    ran = usage_jobs("check", "--json", url=url, **environment)
    return {finding["subject"]: finding for finding in ran.object["findings"]}


@pytest.fixture
def database(ready: str) -> str:
    add_usage(ready)
    return ready


@pytest.mark.parametrize("subject", [INDEX, BY_USER])
def test_the_index_that_is_missing_is_named_with_the_statement_that_makes_it(
    database: str, monkeypatch: pytest.MonkeyPatch, subject: str
) -> None:
    without_index(database)
    assert subject not in found(database), "a small table is read at once"
    monkeypatch.setattr(performance_checks, "MANY_PAGES", 1)
    note = found(database)[subject]
    assert (note["level"], note["found"]) == ("note", "none, on 0 MB")
    ask(database, note["remedy"].split(" (about")[0].replace("CONCURRENTLY ", ""))  # which no transaction allows
    assert {INDEX, BY_USER} - found(database).keys() == {subject}


def without_index(url: str) -> None:
    """Drops the indexes of usage_daily, its key aside."""
    text = (
        "SELECT indexrelid::regclass AS name FROM pg_index WHERE indrelid = 'usage_daily'::regclass AND NOT indisunique"
    )
    for index in ask(url, text):
        ask(url, f"DROP INDEX {index['name']}")


@pytest.mark.parametrize("index", ["(user_id, date)", "(date) WHERE total_cost > 0"])
def test_an_index_that_leads_to_no_day_is_none(database: str, monkeypatch: pytest.MonkeyPatch, index: str) -> None:
    monkeypatch.setattr(performance_checks, "MANY_PAGES", 1)
    ask(database, f"CREATE INDEX ON usage_daily {index}")
    assert INDEX in found(database)


@pytest.mark.parametrize("index", ["(date, user_id)", "(user_id) WHERE total_cost > 0"])
def test_an_index_that_leads_to_no_user_is_none(database: str, monkeypatch: pytest.MonkeyPatch, index: str) -> None:
    monkeypatch.setattr(performance_checks, "MANY_PAGES", 1)
    without_index(database)
    ask(database, f"CREATE INDEX ON usage_daily {index}")
    assert BY_USER in found(database)


def test_rows_stay_on_their_pages_where_check_has_had_its_way(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROOM not in found(database), "a small table is written at once"
    monkeypatch.setattr(performance_checks, "MANY_PAGES", 1)
    note = found(database)[ROOM]
    assert (note["level"], note["found"]) == ("note", "fillfactor 100, on 0 MB")
    ask(database, note["remedy"].split(" (of rows")[0])
    assert ROOM not in found(database)
    ask(database, "TRUNCATE usage_daily")
    insert = (
        "INSERT INTO usage_daily (user_id, date, cpu_hours) SELECT 'u' || n, %s, 1 FROM generate_series(1, 500) AS n"
    )
    ask(database, insert, DAY)
    pages = "SELECT id, (ctid::text::point)[0]::int AS page FROM usage_daily ORDER BY id"
    before = ask(database, pages)
    ran = usage_jobs("run", "--json", url=database, USAGE_JOBS_COST="rated", USAGE_JOBS_START="2026-06")
    assert ran.object["rows_changed"] >= 500
    assert ask(database, pages) == before
    assert len({row["page"] for row in before}) > 5


def test_a_table_that_no_run_writes_needs_no_room(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performance_checks, "MANY_PAGES", 1)
    ask(database, "DROP TABLE user_credits CASCADE")
    assert INDEX in found(database)
    assert ROOM not in found(database)


def test_memory_is_shown(database: str) -> None:
    memory = found(database)["memory"]
    assert (memory["level"], memory["found"]) == ("ok", f"about {most()} MiB")


def test_memory_beyond_what_a_run_may_take_is_noted_with_the_settings_that_decide_it(database: str) -> None:
    memory = found(database, USAGE_JOBS_BATCH_ROWS="1000000", USAGE_JOBS_WORKERS="16")["memory"]
    assert memory["level"] == "note"
    assert "batch_rows" in memory["remedy"]
    assert "workers" in memory["remedy"]


def most(workers: int | None = None, rows: int | None = None) -> int:
    """What a run takes at the most, in MiB."""
    given = {"USAGE_JOBS_WORKERS": workers, "USAGE_JOBS_BATCH_ROWS": rows}
    return performance_checks.estimate_memory(
        load(None, {name: str(value) for name, value in given.items() if value}, Path.cwd())
    )


def test_memory_is_at_most_512_mebibyte_with_the_settings_that_ship() -> None:
    assert most() <= 512


@pytest.mark.parametrize("workers", range(1, 17))
@pytest.mark.parametrize("rows", [1, 100_000, 1_000_000])
def test_the_rows_at_work_decide_the_memory(workers: int, rows: int) -> None:
    """However they are shared out among workers, and whatever else is set."""
    assert most(workers, rows) == most(1, workers * rows)
    assert most(workers, rows) <= most(workers, 2 * rows) <= most(workers, 2 * rows + 10_000) - 14


@pytest.mark.direct("what a planner does is no matter of the way to it")
@pytest.mark.parametrize("forced", [True, False])
def test_a_ledger_that_was_vacuumed_while_it_was_empty_is_searched_by_its_key(database: str, *, forced: bool) -> None:
    """Without ``by_index`` the planner reads all of it for each draw, however many there are by then."""
    settings = load(None, {}, Path.cwd())
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM rollup.credit_draws")
    text = compose("accounts.post_draws", settings)
    with connect(Address(database)) as link, transaction(link):
        stage_rows(link, "draws", pl.DataFrame(schema=DRAWS | {"month": pl.Date, "is_first_draw": pl.Boolean}))
        with prefer_indexes(link) if forced else nullcontext():
            plan = link.execute(sql.SQL("EXPLAIN {}").format(text), {"run_id": 1, "imported": False}).fetchall()
        assert any("Seq Scan on credit_draws" in line for (line,) in plan) == (not forced)
        assert link.execute("SHOW enable_seqscan").fetchone() == ("on",)


@pytest.mark.direct("what a planner does is no matter of the way to it")
@pytest.mark.parametrize("has_key", [True, False])
def test_rows_to_be_written_are_found_by_their_key_where_it_has_an_index(database: str, *, has_key: bool) -> None:
    if not has_key:
        ask(database, "ALTER TABLE usage_daily DROP CONSTRAINT usage_daily_pkey CASCADE")
    with connect(Address(database)) as connection:
        read, _ = preflight.inspect_source(connection, load(None, {}, Path.cwd()))
    assert read.rows_by_index == has_key

"""What `check` says of speed and memory, and that it says it truly."""

from contextlib import nullcontext
from pathlib import Path

import psycopg
import pytest
from commands import DAY, add_usage, applied, ask, usage_jobs
from psycopg import sql

from jobs.settings import load
from jobs.store import speed
from jobs.store.address import Address
from jobs.store.database import by_index, connect, transaction
from jobs.store.statements import own, source, statement

INDEX, ROOM = "index on usage_daily (date)", "room on the pages of usage_daily"


def found(url: str) -> dict[str, dict[str, str]]:
    ran = usage_jobs("check", "--json", url=url)
    return {finding["subject"]: finding for finding in ran.object["findings"]}


@pytest.fixture
def database(database: str) -> str:
    add_usage(database)
    return applied(database)


def test_the_index_that_is_missing_is_told_with_the_statement_that_makes_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert INDEX not in found(database), "a small table is read at once"
    monkeypatch.setattr(speed, "MANY_PAGES", 1)
    note = found(database)[INDEX]
    assert (note["level"], note["found"]) == ("note", "none, on 0 MB")
    ask(database, note["remedy"].split(" (about")[0].replace("CONCURRENTLY ", ""))  # which no transaction allows
    assert INDEX not in found(database)


@pytest.mark.parametrize("index", ["(user_id, date)", "(date) WHERE total_cost > 0"])
def test_an_index_that_leads_to_no_day_is_none(database: str, monkeypatch: pytest.MonkeyPatch, index: str) -> None:
    monkeypatch.setattr(speed, "MANY_PAGES", 1)
    ask(database, f"CREATE INDEX ON usage_daily {index}")
    assert INDEX in found(database)


def test_rows_stay_on_their_pages_where_check_has_had_its_way(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROOM not in found(database), "a small table is written at once"
    monkeypatch.setattr(speed, "MANY_PAGES", 1)
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
    monkeypatch.setattr(speed, "MANY_PAGES", 1)
    ask(database, "DROP TABLE user_credits CASCADE")
    assert INDEX in found(database)
    assert ROOM not in found(database)


def test_memory_is_told(database: str) -> None:
    assert found(database)["memory"]["level"] == "ok"


@pytest.mark.parametrize("workers", range(1, 17))
@pytest.mark.parametrize("rows", [1, 100_000, 1_000_000, 10**9])
def test_memory_is_at_most_one_gibibyte_whatever_the_settings(workers: int, rows: int) -> None:
    given = {"USAGE_JOBS_WORKERS": str(workers), "USAGE_JOBS_BATCH_ROWS": str(rows)}
    assert speed.memory(load(None, given, Path.cwd())) <= 1024


@pytest.mark.direct("what a planner does is no matter of the way to it")
@pytest.mark.parametrize("forced", [True, False])
def test_a_ledger_that_was_vacuumed_while_it_was_empty_is_searched_by_its_key(database: str, *, forced: bool) -> None:
    """Without ``by_index`` the planner reads all of it for each draw, however many there are by then."""
    settings = load(None, {}, Path.cwd())
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM rollup.credit_draws")
    text = statement("post_draws", draws=own(settings, "credit_draws"))
    with connect(Address(database)) as link, transaction(link):
        link.execute(statement("stage_draws"))
        with by_index(link) if forced else nullcontext():
            plan = link.execute(sql.SQL("EXPLAIN {}").format(text), {"run_id": 1}).fetchall()
        assert any("Seq Scan on credit_draws" in line for (line,) in plan) == (not forced)
        assert link.execute("SHOW enable_seqscan").fetchone() == ("on",)


@pytest.mark.direct("what a planner does is no matter of the way to it")
@pytest.mark.parametrize("has_key", [True, False])
def test_rows_to_be_written_are_found_by_their_key_where_it_has_an_index(database: str, *, has_key: bool) -> None:
    usage = source(load(None, {}, Path.cwd()), "usage_daily")
    if not has_key:
        ask(database, "ALTER TABLE usage_daily DROP CONSTRAINT usage_daily_pkey CASCADE")
    with connect(Address(database)) as connection:
        row = connection.execute(statement("has_key", quoted=sql.Literal(usage.as_string(None)))).fetchone()
    assert row == (has_key,)

"""What `check` says of speed and memory, and that it says it truly."""

from pathlib import Path

import pytest
from commands import add_usage, applied, ask, usage_jobs

from jobs.settings import load
from jobs.store import speed

INDEX = "index on usage_daily (date)"


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


def test_memory_is_told(database: str) -> None:
    assert found(database)["memory"]["level"] == "ok"


@pytest.mark.parametrize("workers", range(1, 17))
@pytest.mark.parametrize("rows", [1, 100_000, 1_000_000, 10**9])
def test_memory_is_at_most_one_gibibyte_whatever_the_settings(workers: int, rows: int) -> None:
    given = {"USAGE_JOBS_WORKERS": str(workers), "USAGE_JOBS_MAX_ROWS_PER_CHUNK": str(rows)}
    assert speed.memory(load(None, given, Path.cwd())) <= 1024

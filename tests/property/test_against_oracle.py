"""Laws 1, 2, 5, 6 and 8 on generated databases: the job against an oracle in plain Decimal that shares no code.

Each example loads a database, runs the job on several days, out of order and twice, changes usage in between, and
compares every table after every run. LAW_EXAMPLES sets how many examples each shape gets.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import psycopg
import pytest
from commands import explicit
from conftest import Databases
from counts import count
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from oracle import Book, RunRefusedError, World
from psycopg import sql
from psycopg.rows import dict_row
from server_day import server_day
from shrinking import perform_anyway
from ways import READERS, job_url, owner_url
from worlds import Case, apply, cases, edits, ends_of_overrides, load, write_config

from jobs.domain.errors import ConfigError, ShrinkError
from jobs.domain.run_report import Report
from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import RunRequest
from jobs.postgres.conninfo import Address
from jobs.postgres.schema_script import apply_schema
from jobs.settings import load as load_settings

EXAMPLES = count("LAW_EXAMPLES")
Key = tuple[Any, ...]


@dataclass
class Trial:
    """A generated case beside its database: what the job does there, and what the oracle expects."""

    case: Case
    url: str
    config: Path
    chunk: int
    reader: str
    latest: date = date.min
    """The furthest day that was asked for: no clock goes back behind it."""

    def run(self, day: date, *, anyway: bool = False) -> Report:
        env = {
            "DATABASE_URL": self.url,
            "USAGE_JOBS_BATCH_ROWS": str(self.chunk),
            "USAGE_JOBS_READER": self.reader,
        }
        made = explicit(load_settings(self.config, env, self.config.parent), self.url, day)
        address = Address(job_url(self.url, lambda: made))
        self.latest = max(day, self.latest)
        with server_day(self.latest + timedelta(days=1)):
            return (perform_anyway if anyway else run_job)(RunRequest(made, address, day=day))

    def rows(self, table: str, *key: str) -> dict[Key, dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            found = connection.execute(sql.SQL("SELECT * FROM rollup.{}").format(sql.Identifier(table))).fetchall()
        return {tuple(row[name] for name in key): row for row in found}

    def expect(self, book: Book) -> None:
        """Every table holds what the oracle holds, row by row and column by column."""
        same(self.rows("user_daily", "date", "user_id", "cluster_id"), book.user_daily)
        same(self.rows("user_monthly", "month", "user_id"), book.user_monthly)
        same(self.rows("cluster_daily", "date", "cluster_id"), book.cluster_daily)
        same(self.rows("cluster_monthly", "month", "cluster_id"), book.cluster_monthly)
        months = {key[0]: row for key, row in self.rows("months", "month").items()}
        assert {month: (row["cost_mode"], row["closed_at"] is not None) for month, row in months.items()} == {
            month: (figures.cost_mode, figures.closed) for month, figures in book.months.items()
        }
        assert {month: (row["row_count"], row["total_cost"]) for month, row in months.items()} == {
            month: (figures.row_count, figures.total_cost) for month, figures in book.months.items()
        }
        rejected = {key[0]: row["reason"].split()[0] for key, row in self.rows("rejects", "usage_daily_id").items()}
        assert {id_: _word(reason) for id_, reason in rejected.items()} == dict(book.rejects)

    def conserves(self) -> None:
        """Law 1 in SQL: what users cost is what clusters cost, by day and by month, meter by meter."""
        with psycopg.connect(self.url) as connection:
            columns = [f"{meter.name}_cost" for meter in self.case.options.meters] + ["adjustment_cost", "total_cost"]
            flows = [meter.name for meter in self.case.options.meters if meter.kind == "flow"]
            for column in columns + flows:
                sums = [
                    connection.execute(
                        sql.SQL(
                            "SELECT date_trunc('month', {day})::date, sum({column}) FROM rollup.{table}"
                            " GROUP BY 1 HAVING sum({column}) <> 0"
                        ).format(day=sql.Identifier(day), column=sql.Identifier(column), table=sql.Identifier(table))
                    ).fetchall()
                    for table, day in (
                        ("user_monthly", "month"),
                        ("cluster_daily", "date"),
                        ("cluster_monthly", "month"),
                    )
                ]
                assert sorted(sums[0]) == sorted(sums[1]) == sorted(sums[2]), column


def _word(first: str) -> str:
    return {"user_id": "user", "date": "date", "total_cost": "total_cost"}.get(first, "quantity")


def same(found: Mapping[Key, Mapping[str, Any]], expected: Mapping[Key, Mapping[str, Any]]) -> None:
    assert found.keys() == expected.keys()
    for key, figures in expected.items():
        for name, value in figures.items():
            assert found[key][name] == value, (key, name)


@contextmanager
def trial(databases: Databases, case: Case, data: st.DataObject) -> Iterator[Trial]:
    url = databases.create(case.shape.lower())
    with tempfile.TemporaryDirectory() as folder:
        config = write_config(Path(folder), case.options)
        chunk = data.draw(st.sampled_from([1, 2, 7, 1_000_000]), "batch_rows")
        reader = data.draw(st.sampled_from(READERS), "reader")
        made = Trial(case, url, config, chunk, reader)
        with psycopg.connect(url) as connection:
            load(connection, case.world, case.shape)
        apply_schema(load_settings(config, {}, config.parent), Address(owner_url(url)))
        try:
            yield made
        finally:
            databases.retire([url])


def step(made: Trial, book: Book, world: World, day: date) -> World:
    """One run, refused or done, beside the oracle; a second run right after it changes nothing."""
    options = made.case.options
    try:
        braked = book.brakes(world, options, day)
        if braked:
            with pytest.raises(ShrinkError, match=f"{min(braked):%Y-%m}"):
                made.run(day)
            made.expect(book)
            event("braked")
        book.run(world, options, day)
    except RunRefusedError:
        with pytest.raises(ConfigError):
            made.run(day)
        event("refused")
        return world
    report = made.run(day, anyway=bool(braked))
    made.expect(book)
    made.conserves()
    world = written(made, book, world)
    assert report.total_cost == sum((book.months[month].total_cost for month in covered(report)), Decimal(0))
    if not report.closed:
        again = made.run(day)
        assert again.rows_changed == 0, again.changed
        assert again.rows_rejected == report.rows_rejected
    return world


def covered(report: Report) -> set[date]:
    return {
        month
        for month in (
            report.window_from.replace(year=year, month=number)
            for year in (2022, 2023, 2024)
            for number in range(1, 13)
        )
        if report.window_from <= month <= report.window_to
    }


def written(made: Trial, book: Book, world: World) -> World:
    """Law 2 for what is written back: usage_daily.total_cost is the oracle's, and only where it is ours."""
    expected = book.written(world)
    with psycopg.connect(made.url) as connection:
        found: dict[UUID, Decimal | None] = dict(
            connection.execute("SELECT id, total_cost FROM usage_daily").fetchall()
        )
    costs = {row.id: row.total_cost for row in expected.rows}
    assert {id_: str(cost) if cost is not None and cost.is_nan() else cost for id_, cost in found.items()} == {
        id_: str(cost) if cost is not None and cost.is_nan() else cost for id_, cost in costs.items()
    }
    return expected


LAW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CI" in os.environ,
    # Shrinking a whole database history takes minutes and says little more: the seed reproduces a failure.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


def change(made: Trial, world: World, changed: World) -> World:
    """Other programs make one world of the other."""
    with psycopg.connect(made.url) as connection:
        apply(connection, world, changed)
    return changed


@pytest.mark.database
@pytest.mark.parametrize("shape", ["A", "B"])
@LAW
@given(data=st.data())
def test_the_job_does_what_the_oracle_does(shape: Literal["A", "B"], databases: Databases, data: st.DataObject) -> None:
    case = data.draw(cases(shape), "case")
    with trial(databases, case, data) as made:
        book, world = Book(), case.world
        for number, day in enumerate(case.days):
            if number:
                drawn = data.draw(edits(world, case.shape, case.season), f"edit before run {number}")
                world = change(made, world, drawn)
            world = step(made, book, world, day)


@pytest.mark.database
@settings(LAW, max_examples=EXAMPLES + 1)
@given(data=st.data())
def test_overrides_end_as_they_do_for_the_oracle(databases: Databases, data: st.DataObject) -> None:
    case, worlds = data.draw(ends_of_overrides(), "case")
    with trial(databases, case, data) as made:
        book, world = Book(), case.world
        for day, then in zip(case.days, worlds, strict=True):
            world = change(made, world, replace(world, overrides=then.overrides))
            world = step(made, book, world, day)

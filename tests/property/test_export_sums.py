"""Files = tables: the sums of each export are those of the table that it shows, to the last digit.

EXPORT_HISTORIES histories are played, from HISTORY_SEED on; EXPORT_HISTORIES=50 plays 50.
"""

import csv
from calendar import monthrange
from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from commands import explicit
from conftest import Databases
from histories import SHARES, History, play_share
from hypothesis import strategies as st
from other_programs import first_day
from psycopg import sql
from ways import job_url

from jobs.postgres.conninfo import Address
from jobs.reports.export import Exported, export
from jobs.reports.export_request import BY, ExportRequest

SOURCES = {
    "user": ("user_monthly", "month", ("month", "user_id")),
    "cluster": ("cluster_monthly", "month", ("month", "cluster_id")),
    "user,cluster": ("user_daily", "date", ("date_trunc('month', date)", "user_id", "cluster_id")),
    "day": ("user_daily", "date", ("date",)),
    "user,day": ("user_daily", "date", ("date", "user_id")),
    "correction": ("corrections", "month", ("month", "user_id", "run_id")),
    "draw": ("credit_draws", "usage_date", ("usage_daily_id", "user_id", "revision")),
}
"""The table that an export shows, its day, and the key of a row."""
EXACT = Context(prec=60)
BY_HAND = """
SELECT to_char(date, 'YYYY-MM-01') AS month, user_id, coalesce(cluster_id::text, '') AS cluster_id,
  sum(cpu_hours) AS cpu_hours, sum(storage_gb) AS storage_gb_days, sum(total_cost) AS total_cost,
  sum(credits_deducted) AS credits_deducted, count(DISTINCT date) AS days
FROM rollup.user_daily WHERE date BETWEEN %s AND %s GROUP BY 1, 2, 3"""


class Exports(History):
    """A history whose every export is compared with the tables."""

    def play(self) -> None:
        draw = self.data.draw
        self.night(first_day(self.case, draw))
        for how in draw(st.lists(st.sampled_from(["night", "backfill"]), min_size=1, max_size=2), label="next"):
            self.edits()
            if how == "backfill":
                self.backfill()
            else:
                self.night(self.next_day())
        months = [month for (month,) in self.asked("SELECT month FROM rollup.months ORDER BY 1")]
        assert months
        for by in BY:
            for first, last in {(months[0], months[-1]), (months[-1], months[-1])}:
                if len(months) == _count_months(months[0], months[-1]):
                    self.compare(by, first, last)

    def asked(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as link:
            return link.execute(text.encode(), values or None).fetchall()

    def exported(self, by: str, form: str, first: date, last: date) -> tuple[bytes, Exported]:
        settings = explicit(self.runner.settings(), self.url, self.runner.today)
        address, file = Address(job_url(self.url, lambda: settings)), BytesIO()
        with self.runner.on_its_day():
            done = export(
                settings, address, ExportRequest(first, last, by, form, Path(f"out.{form}")), file, lambda *_: None
            )
        return file.getvalue(), done

    def compare(self, by: str, first: date, last: date) -> None:
        content, done = self.exported(by, "csv", first, last)
        rows = read_csv(content)
        until = last.replace(day=monthrange(last.year, last.month)[1])
        table, day, key = SOURCES[by]
        distinct = f"SELECT DISTINCT {', '.join(key)} FROM rollup.{table} WHERE {day} BETWEEN %s AND %s"
        assert self.asked(f"SELECT count(*) FROM ({distinct}) x", first, until) == [(len(rows),)] == [(done.rows,)], by
        assert not [note for note in done.notes if "not complete" in note]
        amounts = [name for name, of in done_columns(content).items() if of]
        stored = {name for (name,) in self.asked(COLUMNS, table)}
        for name in amounts:
            column = name.removesuffix("_days") if by == "user,cluster" and name.endswith("_days") else name
            if column not in stored or (by == "user,cluster" and f"{name}_days" in amounts):
                continue  # computed from others; GB-months are compared below
            query = sql.SQL("SELECT sum({}) FROM rollup.{} WHERE {} BETWEEN %s AND %s").format(
                *map(sql.Identifier, (column, table, day))
            )
            with psycopg.connect(self.url) as link:
                [(total,)] = link.execute(query, [first, until]).fetchall()
            assert add(row[name] for row in rows) == (total or 0), (by, name)
        if by == "user,cluster":
            self.compare_by_hand(rows, first, until)
        frame = pl.read_parquet(self.exported(by, "parquet", first, last)[0])
        for name in amounts:
            assert frame.schema[name] == pl.Decimal(38, 10)
            assert [None if value is None else Decimal(value) for value in frame[name]] == [
                Decimal(row[name]) if row[name] else None for row in rows
            ]

    def compare_by_hand(self, rows: list[dict[str, str]], first: date, until: date) -> None:
        names = (
            "month",
            "user_id",
            "cluster_id",
            "cpu_hours",
            "storage_gb_days",
            "total_cost",
            "credits_deducted",
            "days",
        )
        found = {tuple(row[name] for name in names[:3]): [Decimal(row[name]) for name in names[3:]] for row in rows}
        by_hand = {tuple(row[:3]): list(row[3:]) for row in self.asked(BY_HAND, first, until)}
        assert found == {(month, _guarded(user), cluster): sums for (month, user, cluster), sums in by_hand.items()}
        for row in rows:
            days = Decimal(monthrange(int(row["month"][:4]), int(row["month"][5:7]))[1])
            exact = EXACT.divide(Decimal(row["storage_gb_days"]), days)
            assert Decimal(row["storage_gb"]) == exact.quantize(Decimal("1e-10"), ROUND_HALF_EVEN, EXACT)


COLUMNS = """
SELECT column_name FROM information_schema.columns WHERE table_schema = 'rollup' AND table_name = %s
AND data_type = 'numeric'"""


def _guarded(text: str) -> str:
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def _count_months(first: date, last: date) -> int:
    return (last.year - first.year) * 12 + last.month - first.month + 1


def read_csv(content: bytes) -> list[dict[str, str]]:
    """The rows by the name of the column without its unit."""
    header, *rows = csv.reader(StringIO(content.decode(), newline=""))
    return [dict(zip((name.partition(" [")[0] for name in header), row, strict=True)) for row in rows]


def done_columns(content: bytes) -> Mapping[str, str]:
    """The unit of each column of a CSV file."""
    header = next(csv.reader(StringIO(content.decode(), newline="")))
    return {name: unit.rstrip("]") for name, _, unit in (each.partition(" [") for each in header)}


def add(texts: Any) -> Decimal:
    total = Decimal(0)
    for text in texts:
        total = EXACT.add(total, Decimal(text or 0))
    return total


@pytest.mark.database
@pytest.mark.parametrize("share", range(SHARES))
def test_sums_of_files_are_sums_of_the_tables(databases: Databases, share: int) -> None:
    play_share(databases, Exports, "EXPORT_HISTORIES", share)

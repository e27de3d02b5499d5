"""Random numerics, read by both readers: equal, exact after the query's rounding, or set aside by row.

NUMERICS=1000000 takes a million.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from uuid import UUID

import numerics
import polars as pl
import psycopg
import pytest
from commands import DAY, applied, ask, usage_jobs
from polars.testing import assert_frame_equal
from usage_reads import read_usage

COUNT = int(os.environ.get("NUMERICS", "20000"))
QUANTITIES = ("cpu_hours", "gpu_hours", "storage_gb")
ORACLES = dict.fromkeys(QUANTITIES, numerics.units) | {
    "total_cost": numerics.cost,
    "credits_deducted": numerics.deducted,
}
FRAME = {"total_cost": "recorded", "credits_deducted": "deducted"}
"""The names that two columns have once they are read."""
Row = tuple[str | None, ...]


def rows(count: int, seed: int, width: int = len(ORACLES)) -> Iterator[Row]:
    """Of usage_daily: the values of its numeric columns, as many as ``width``."""
    values = numerics.numerics(count, seed)
    while row := tuple(islice(values, width)):
        yield row


def put(url: str, found: Sequence[Row]) -> None:
    """Rows of DAY, numbered by their id."""
    columns = ", ".join(("id", "user_id", "date", *list(ORACLES)[: len(found[0])]))
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        with cursor.copy(f"COPY usage_daily ({columns}) FROM STDIN".encode()) as copy:
            for number, row in enumerate(found):
                copy.write_row((UUID(int=number), f"user {number % 7}", DAY, *row))
        cursor.execute("ANALYZE usage_daily")


def read(url: str, reader: str) -> pl.DataFrame:
    return read_usage(url, reader, [(DAY, DAY)])


@pytest.mark.parametrize("seed", range(4))
def test_every_numeric_is_exact_or_set_aside(database: str, seed: int) -> None:
    found = [row for row in rows(COUNT // 4, seed) if len(row) == len(ORACLES)]
    put(database, found)
    frames = [read(database, reader) for reader in ("connectorx", "copy")]
    assert_frame_equal(*frames)
    assert frames[0]["id"].to_list() == list(range(len(found)))
    for (column, oracle), held in zip(ORACLES.items(), zip(*found, strict=True), strict=True):
        wrong = [
            (text, value, oracle(text))
            for text, value in zip(held, frames[0][FRAME.get(column, column)], strict=True)
            if value != oracle(text)
        ]
        assert wrong[:5] == [], column


def test_a_run_sets_aside_exactly_the_bad_rows(database: str) -> None:
    found = [row for row in rows(COUNT // 10, 99, width=4) if len(row) == 4]
    put(applied(database), found)
    bad = {
        UUID(int=number): {
            name for (name, oracle), text in zip(ORACLES.items(), row, strict=False) if oracle(text) == -1
        }
        for number, row in enumerate(found)
    }
    ran = usage_jobs("run", "--json", url=database)
    assert ran.code == 3, ran.err
    rejects = ask(database, "SELECT usage_daily_id AS id, split_part(reason, ' is ', 1) AS name FROM rollup.rejects")
    assert {row["id"] for row in rejects} == {id_ for id_, names in bad.items() if names}
    assert all(row["name"] in bad[row["id"]] for row in rejects)
    good = [row for number, row in enumerate(found) if not bad[UUID(int=number)]]
    for place, name in enumerate(QUANTITIES[:2]):
        [total] = ask(database, f"SELECT sum({name}) * 10000000000 AS units FROM rollup.user_monthly")
        assert total["units"] == sum(numerics.units(row[place]) for row in good)
    again = usage_jobs("run", "--json", url=database)
    assert (again.code, again.object["rows_changed"]) == (3, 0)


def test_the_oracle_rounds_as_postgresql_does(database: str) -> None:
    """Half away from zero, and a negative zero is zero."""
    texts = [text for text in numerics.numerics(COUNT // 10, 7) if text and numerics.deducted(text) is not None]
    with psycopg.connect(database) as connection:
        query = (
            "SELECT round(v::numeric, 10) * 10000000000 FROM unnest(%s::text[]) WITH ORDINALITY AS t(v, n) ORDER BY n"
        )
        held = [int(row[0]) for row in connection.execute(query, [texts])]
    assert held == [numerics.deducted(text) for text in texts]


def test_every_kind_is_among_them() -> None:
    found = list(numerics.numerics(20_000, 1))
    texts = [text for text in found if text]
    assert len(texts) < len(found)
    for text in numerics.SPECIAL:
        assert text in texts
    assert any(len(text) > 5_000 for text in texts)
    assert any(len(text.replace("-", "")) == 39 for text in texts), "38 digits and a point"
    assert any(len(text.partition(".")[2]) > 29 for text in texts)
    outcomes = [numerics.units(text) for text in texts]
    assert 0.1 < outcomes.count(-1) / len(outcomes) < 0.6
    assert 10**18 in outcomes, "max_quantity itself"

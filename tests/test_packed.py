"""Usage read many rows at a time is the usage that is read row by row, wherever on disk its rows lie."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from commands import CLUSTER, add_row, applied, ask
from polars.testing import assert_frame_equal
from psycopg import sql
from psycopg.pq import TransactionStatus
from ways import job_url

from jobs.settings import load
from jobs.store import arms, packed, preflight, readers, unpacked
from jobs.store.address import Address
from jobs.store.database import Connection, connect, transaction
from jobs.store.usage import UsageQuery, on_days

JUNE, AUGUST = (date(2026, 6, 1), date(2026, 6, 30)), (date(2026, 8, 1), date(2026, 8, 3))
BY_DAY = "CREATE INDEX ON usage_daily (date)"
FEW_A_DAY = "ANALYZE usage_daily"
MANY_A_DAY = "UPDATE pg_class SET reltuples = 1e9 WHERE oid = 'usage_daily'::regclass"


@pytest.fixture
def link(database: str) -> Iterator[Connection]:
    """To a database whose rows lie on several pages, out of order, with every null and every oddity among them."""
    odd = {"user_id": None}, {"hopsworks_cluster_id": None}, {"hopsworks_cluster_id": UUID(int=0)}, {"cpu_hours": "NaN"}
    for columns in (
        *odd,
        {"total_cost": None},
        {"total_cost": -3},
        {"credits_deducted": None},
        {"credits_deducted": "1e12"},
    ):
        add_row(database, hopsworks_cluster_id=columns.pop("hopsworks_cluster_id", CLUSTER), **columns)
    ask(
        database,
        "INSERT INTO usage_daily (user_id, date, cpu_hours, storage_gb, model_inference_calls, total_cost, created_at)"
        " SELECT 'user ' || n % 7, date '2026-05-25' + n * 37 % 90, n / 7.0, n, n, nullif(n % 3, 0), now()"
        " FROM generate_series(1, 2000) AS n",
    )
    url = job_url(applied(database), lambda: load(None, {}, Path.cwd()))
    with connect(Address(url)) as connection:
        yield connection


@pytest.fixture
def query(link: Connection) -> UsageQuery:
    settings = load(None, {}, Path.cwd())
    source, _ = preflight.source(link, settings)
    return UsageQuery(settings, source, {meter.name: date.min for meter in source.meters}, versions=True)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "ARM_PAGES", 1)
    monkeypatch.setattr(arms, "ARM_ROWS", 50)


def whole(frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames).sort("id")


def same(link: Connection, query: UsageQuery) -> list[pl.DataFrame]:
    """The frames of June and some of August; they hold what the rows hold."""
    spans = [JUNE, AUGUST]
    found = list(readers.batches(Address(""), link, "copy", query, spans))
    assert_frame_equal(whole(iter(found)), whole(readers.copied(link, query.days(spans), query)))
    assert link.info.transaction_status == TransactionStatus.IDLE
    return found


def test_by_pages(link: Connection, query: UsageQuery) -> None:
    assert len(same(link, query)) > 10


@pytest.mark.parametrize("statistics", ["SELECT 1", FEW_A_DAY, f"{FEW_A_DAY}; {MANY_A_DAY}"])
def test_by_days_or_by_the_pages_where_they_lie(
    database: str, link: Connection, query: UsageQuery, statistics: str
) -> None:
    ask(database, f"{BY_DAY}; {statistics}")
    assert len(same(link, query)) > 10


def test_only_the_pages_where_the_days_lie(database: str, link: Connection, query: UsageQuery) -> None:
    ask(
        database,
        f"CREATE TABLE sorted AS SELECT * FROM usage_daily ORDER BY date; TRUNCATE usage_daily; {BY_DAY};"
        f"INSERT INTO usage_daily SELECT * FROM sorted; {FEW_A_DAY}; {MANY_A_DAY}",
    )
    with transaction(link, snapshot=True):
        some = arms.arms(link, query, [JUNE], frozen=True)
        every = arms.arms(link, query, [JUNE], frozen=False)
    assert len(some) < len(every)
    same(link, query)


def test_inside_a_transaction_that_is_no_snapshot(link: Connection, query: UsageQuery) -> None:
    with transaction(link):
        found = whole(readers.batches(Address(""), link, "copy", query, [JUNE]))
    assert_frame_equal(found, whole(readers.copied(link, query.days([JUNE]), query)))


def test_a_user_whose_id_holds_the_separator(database: str, link: Connection, query: UsageQuery) -> None:
    add_row(database, user_id=f"ada{unpacked.SEPARATOR}bob")
    add_row(database, user_id=unpacked.SEPARATOR)
    same(link, query)


@pytest.mark.direct("a role is granted the table, and not what takes its place")
@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE usage_daily RENAME TO held; CREATE VIEW usage_daily AS SELECT *, '7'::xid AS xmin FROM held",
        "ALTER TABLE usage_daily ALTER id TYPE text",
        "CREATE TABLE child () INHERITS (usage_daily); INSERT INTO child SELECT * FROM ONLY usage_daily LIMIT 5",
    ],
)
def test_what_is_no_table_by_itself_is_read_row_by_row(
    database: str, link: Connection, query: UsageQuery, change: str
) -> None:
    ask(database, "ALTER TABLE usage_daily ALTER id DROP DEFAULT; " + change)
    with transaction(link):
        assert arms.arms(link, query, [JUNE], frozen=False) == []
    same(link, query)


EDGES = [
    *(
        "0",
        "0.00",
        "12.5",
        "0.0000000001",
        "99999999.9999999999",
        "0.99999999999",
        "0.9999999999949999",
        "123.40000000000000",
    ),
    *("0.00000000005", "0.00000000004999", "1.00000000015", "1.000000000250000000000000000000000000000000000001"),
    *("1e-12", "-1e-12", "-0.5", "100000000", "100000000.000000000001", "92233720.36854775807", "92233720.5", "1e20"),
    *("1e60", "NaN", "Infinity", "-Infinity", None),
]
"""Numbers that are read as they stand, that have to be rounded, that cannot be taken."""


@pytest.mark.parametrize("column", ["cpu_hours", "storage_gb", "total_cost", "credits_deducted"])
def test_numbers_at_every_edge(
    database: str, link: Connection, query: UsageQuery, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    ask(database, "TRUNCATE usage_daily")
    ask(
        database,
        f"INSERT INTO usage_daily (user_id, date, created_at, {column}) SELECT 'ada', "
        f"date '2026-06-01' + n::integer - 1, now(), value FROM unnest(%s::numeric[]) WITH ORDINALITY AS v (value, n)",
        [EDGES],
    )
    days = [date(2026, 6, day) for day in range(1, 31)]
    monkeypatch.setattr(arms, "arms", lambda *_, **__: [on_days([(day, day)]) for day in days])
    assert sum(frame.height for frame in same(link, query)) == len(EDGES)


@pytest.mark.parametrize("calls", [0, 7, None, -1, 100_000_000, 100_000_001, 2**31 - 1])
def test_counts_at_every_edge(database: str, link: Connection, query: UsageQuery, calls: int | None) -> None:
    add_row(database, model_inference_calls=calls)
    same(link, query)


def test_usual_numbers_are_not_rounded_by_the_server(
    database: str, link: Connection, query: UsageQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(database, "DELETE FROM usage_daily WHERE cpu_hours = 'NaN' OR total_cost < 0 OR credits_deducted = 1e12")
    ask(database, "UPDATE usage_daily SET cpu_hours = round(cpu_hours, 10)")
    monkeypatch.setattr(UsageQuery, "numbers", lambda _: pytest.fail("an arm was read a second time"))
    assert sum(frame.height for frame in readers.batches(Address(""), link, "copy", query, [JUNE])) > 500


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """Of every statement whether the server rounds, and of how many arms it is."""
    found: list[tuple[bool, int]] = []
    frames = packed.frames

    def counted(connection: Connection, query: UsageQuery, some: list[sql.Composed], *, rounded: bool) -> Any:
        found.append((rounded, len(some)))
        return frames(connection, query, some, rounded=rounded)

    monkeypatch.setattr(packed, "frames", counted)
    return found


def test_where_numbers_are_finer_all_over_they_are_not_tried_for_long(
    link: Connection, query: UsageQuery, asked: list[tuple[bool, int]]
) -> None:
    assert len(same(link, query)) > 10
    assert [arms for rounded, arms in asked if not rounded] == [1]


def test_the_server_never_holds_the_bytes_of_many_arms(
    database: str, link: Connection, query: UsageQuery, asked: list[tuple[bool, int]]
) -> None:
    ask(database, "UPDATE usage_daily SET cpu_hours = 1, gpu_hours = 1, storage_gb = 1, total_cost = 1")
    frames = same(link, query)
    assert max(arms for _, arms in asked) <= readers.SHARE < len(frames)


def test_no_row_at_all(database: str, link: Connection, query: UsageQuery) -> None:
    ask(database, "TRUNCATE usage_daily")
    assert sum(frame.height for frame in same(link, query)) == 0
    ask(database, f"{BY_DAY}; {FEW_A_DAY}; {MANY_A_DAY}")
    assert sum(frame.height for frame in same(link, query)) == 0

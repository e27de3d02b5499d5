"""Usage read many rows at a time is the usage that is read row by row, wherever on disk its rows lie."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest
from commands import CLUSTER, add_row, applied, ask
from polars.testing import assert_frame_equal
from psycopg.pq import TransactionStatus
from ways import job_url

from jobs.settings import load
from jobs.store import packed, preflight, readers
from jobs.store.address import Address
from jobs.store.database import Connection, connect, transaction
from jobs.store.usage import UsageQuery

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
    monkeypatch.setattr(packed, "ARM_PAGES", 1)
    monkeypatch.setattr(packed, "ARM_ROWS", 50)


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
        some = packed.arms(link, query, [JUNE], frozen=True)
        every = packed.arms(link, query, [JUNE], frozen=False)
    assert len(some) < len(every)
    same(link, query)


def test_inside_a_transaction_that_is_no_snapshot(link: Connection, query: UsageQuery) -> None:
    with transaction(link):
        found = whole(readers.batches(Address(""), link, "copy", query, [JUNE]))
    assert_frame_equal(found, whole(readers.copied(link, query.days([JUNE]), query)))


def test_a_user_whose_id_holds_the_separator(database: str, link: Connection, query: UsageQuery) -> None:
    add_row(database, user_id=f"ada{packed.SEPARATOR}bob")
    add_row(database, user_id=packed.SEPARATOR)
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
        assert packed.arms(link, query, [JUNE], frozen=False) == []
    same(link, query)


def test_no_row_at_all(database: str, link: Connection, query: UsageQuery) -> None:
    ask(database, "TRUNCATE usage_daily")
    assert sum(frame.height for frame in same(link, query)) == 0
    ask(database, f"{BY_DAY}; {FEW_A_DAY}; {MANY_A_DAY}")
    assert sum(frame.height for frame in same(link, query)) == 0

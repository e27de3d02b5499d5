"""Two readers, one frame: every value that usage_daily can hold, and a server that goes away in mid-read."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import polars as pl
import psycopg
import pytest
import ways
from commands import CLUSTER, DAY, add_row, ask, costs
from killing import command
from polars.testing import assert_frame_equal
from ways import job_url
from wire import Statement, Verdict, Wire

from jobs.model.errors import ConfigError, UnreachableError, UsageJobsError
from jobs.model.frames import usage_schema
from jobs.settings import Settings, load
from jobs.store import preflight, readers
from jobs.store.address import Address
from jobs.store.database import Connection, connect
from jobs.store.faults import passes
from jobs.store.usage import UsageQuery

JUNE = (date(2026, 6, 1), date(2026, 6, 30))
READERS = ("connectorx", "copy")
Read = Callable[[str], Iterator[pl.DataFrame]]


@pytest.fixture
def database(ready: str) -> str:
    """With the job's own tables: before, no role can be granted anything."""
    return ready


@pytest.fixture
def settings() -> Settings:
    return load(None, {}, Path.cwd())


@pytest.fixture
def link(database: str, settings: Settings) -> Iterator[Connection]:
    with connect(Address(job_url(database, lambda: settings))) as connection:
        yield connection


@pytest.fixture
def query(link: Connection, settings: Settings) -> UsageQuery:
    """All that a run in recorded mode reads."""
    source, _ = preflight.source(link, settings)
    return UsageQuery(settings, source, {meter.name: date.min for meter in source.meters}, versions=False)


@pytest.fixture
def read(database: str, link: Connection, query: UsageQuery) -> Read:
    """June, as one of the readers gives it, batch by batch; connectorx always past a pooler."""

    def batches(reader: str) -> Iterator[pl.DataFrame]:
        url = job_url(database, lambda: query.settings) if reader in ways.READERS else database
        return readers.batches(Address(url), link, reader, query, [JUNE])

    return batches


def whole(batches: Iterator[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(batches).sort("id")


NASTY = (
    "a,comma",
    'a "quote"',
    "a\nnewline",
    "a\r\nreturn",
    "",
    " ",
    "NULL",
    "\\N",
    "\\.",
    "tab\there",
    "Ünïcödé 😀",
    "auth0|66a0",
    "'",
    "2026-06-01",
    "0123",
    "x" * 5_000,
)


@pytest.mark.parametrize("reader", READERS)
def test_any_user_id(database: str, read: Read, reader: str) -> None:
    ids = {add_row(database, user_id=user): user for user in NASTY}
    nobody = add_row(database, user_id=None)
    frame = whole(read(reader))
    found = {UUID(int=id_): user for id_, user in frame.select("id", "user_id").iter_rows()}
    assert found == ids | {nobody: None}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("held", "units"),
    [
        ("0", 0),
        ("0.0000000001", 1),
        ("0.00000000005", 1),
        ("0.00000000004999", 0),
        ("0.00000000015", 2),
        ("1.00000000025", 10_000_000_003),
        ("7.123456789012345", 71_234_567_890),
        ("99999999.99999999999", 10**18),
        ("100000000", 10**18),
        ("100000000.00000000001", -1),
        ("-0.00000000001", -1),
        ("NaN", -1),
        ("Infinity", -1),
        ("-Infinity", -1),
        (None, 0),
    ],
)
def test_any_quantity_in_units_of_ten_places(
    database: str, read: Read, reader: str, held: str | None, units: int
) -> None:
    add_row(database, cpu_hours=held, total_cost=held)
    [row] = whole(read(reader)).iter_rows(named=True)
    assert row["cpu_hours"] == units
    assert row["recorded"] == (None if held is None else units)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("held", "units"),
    [(0, 0), (1, 10**10), (100_000_000, 10**18), (100_000_001, -1), (-1, -1), (2**31 - 1, -1), (None, 0)],
)
def test_any_number_of_calls(database: str, read: Read, reader: str, held: int | None, units: int) -> None:
    add_row(database, feature_store_api_calls=held)
    assert whole(read(reader))["feature_store_api_calls"].to_list() == [units]


@pytest.mark.parametrize("reader", READERS)
def test_the_frame_is_as_its_contract_says(database: str, read: Read, query: UsageQuery, reader: str) -> None:
    id_ = add_row(database, id=UUID(int=2**128 - 1), hopsworks_cluster_id=CLUSTER, cpu_hours=2, total_cost="1.5")
    frame = whole(read(reader))
    assert dict(frame.schema) == usage_schema([meter.name for meter in query.meters])
    assert frame.to_dicts() == [
        {"id": id_.int, "user_id": "ada", "date": DAY, "cluster_id": CLUSTER.int, "recorded": 15 * 10**9}
        | {"version": None, "deducted": 0, "reported": False, "cpu_hours": 2 * 10**10, "gpu_hours": 0, "storage_gb": 0}
        | {"feature_store_api_calls": 0, "model_inference_calls": 0}
    ]


@pytest.mark.parametrize("reader", READERS)
def test_no_row_at_all(read: Read, query: UsageQuery, reader: str) -> None:
    frames = list(read(reader))
    assert sum(frame.height for frame in frames) == 0
    for frame in frames:
        assert dict(frame.schema) == usage_schema([meter.name for meter in query.meters])


def test_both_give_the_same_frame(database: str, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", 7)
    values = [None, "0", "NaN", "0.00000000005", "100000000", "3.3333333333"]
    for number, user in enumerate(NASTY * 3):
        add_row(
            database,
            user_id=user,
            date=date(2026, 6, 1 + number % 30),
            hopsworks_cluster_id=None if number % 2 else UUID(int=number),
            cpu_hours=values[number % 6],
            total_cost=values[number % 5],
            model_inference_calls=number,
        )
    add_row(database, date=date(2026, 5, 31))
    add_row(database, date=date(2026, 7, 1))
    streamed, packed = (list(read(reader)) for reader in READERS)
    assert len(streamed) > 5, "small batches"
    assert sum(frame.height for frame in packed) == 48
    assert_frame_equal(whole(iter(streamed)), whole(iter(packed)))


def test_versions_are_read_where_rows_will_be_written(database: str, link: Connection, query: UsageQuery) -> None:
    add_row(database, total_cost="1.50")
    [held] = ask(database, "SELECT xmin::text::bigint AS xmin FROM usage_daily")
    for reader in READERS:
        [row] = whole(
            readers.batches(Address(database), link, reader, replace(query, versions=True), [JUNE])
        ).iter_rows(named=True)
        assert (row["version"], row["recorded"]) == (held["xmin"], 15 * 10**9)


# A server that goes away


@pytest.mark.parametrize("reader", READERS)
def test_a_backend_that_dies_in_mid_read_is_no_short_read(
    database: str, link: Connection, read: Read, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", 100)
    monkeypatch.setattr("jobs.store.database.BLOCK", 100_000)
    rows = 40_000  # of 1 kB each: more than the sockets hold between server and reader
    ask(
        database,
        "INSERT INTO usage_daily (user_id, date, cpu_hours)"
        f" SELECT n || repeat('x', 1000), '2026-06-01', 1 FROM generate_series(1, {rows}) AS n;"
        "ALTER TABLE usage_daily RENAME TO usage_rows;"
        "CREATE FUNCTION stall(who text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
        "  IF who LIKE '20000x%' THEN PERFORM pg_advisory_lock(7); END IF; RETURN true; END $$;"
        "CREATE VIEW usage_daily AS SELECT * FROM usage_rows WHERE stall(user_id)",
    )
    with psycopg.connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")  # so that the server cannot have sent it all before we end it
        batches = read(reader)
        assert 0 < next(batches).height < rows
        assert ask(
            database,
            "SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid()",
        ) == [{"ended": True}]
    with pytest.raises((psycopg.OperationalError, UsageJobsError)) as failed:
        list(batches)
    assert isinstance(failed.value, psycopg.Error | UnreachableError), failed.value
    assert passes(failed.value), "a run reads again"
    if not isinstance(failed.value, psycopg.Error):
        assert 'set reader = "copy"' in str(failed.value)
        assert not link.info.password or link.info.password not in str(failed.value)  # a trusting server asks for none


@pytest.mark.direct("has a wire of its own")
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("verdict", [Verdict.CUT, Verdict.LOSE])
def test_a_run_whose_reader_is_cut_off_reads_again(database: str, verdict: Verdict, reader: str) -> None:
    """In a process of its own: connectorx would hold the thread of the wire as well."""
    add_row(database, cpu_hours=3)
    cut: list[Statement] = []
    reads = {"copy": "string_agg(concat(", "connectorx": '"cpu_hours" >= 0'}

    def hook(statement: Statement) -> Verdict:
        if cut or reads[reader] not in statement.text:
            return Verdict.PASS
        cut.append(statement)
        return verdict

    with Wire(database, hook) as wire:
        process = command(wire.url, "run", "--date", "2026-06-20", USAGE_JOBS_READER=reader)
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert cut
    assert costs(database) == {"ada": Decimal("0.3")}


@pytest.mark.parametrize("reader", READERS)
def test_a_table_that_is_gone(database: str, link: Connection, read: Read, reader: str) -> None:
    ask(database, "DROP TABLE usage_daily")
    with pytest.raises((psycopg.errors.UndefinedTable, UsageJobsError), match="usage_daily"):
        whole(read(reader))
    assert link.execute("SELECT 1").fetchone() == (1,)


# Which reader


@pytest.mark.parametrize(
    ("url", "can"),
    [
        ("postgresql://u:p@h:5432/d", True),
        ("postgresql://u:p@h/d", True),
        ("postgresql://u:p@h:5432/d?sslmode=require", True),
        ("postgresql://u:p@h,i:5432/d", False),
        ("postgresql://u:p@h:5432/d?sslmode=verify-full", False),
        ("postgresql://u:p@h:5432/d?sslmode=verify-ca", False),
        ("postgresql://u:p@/d?host=/tmp", False),
    ],
)
def test_connectorx_reads_where_it_can_and_somebody_asks_for_it(url: str, can: bool) -> None:
    for pooled in (False, True):
        assert {readers.chosen(asked, Address(url), pooled=pooled) for asked in ("auto", "copy")} == {"copy"}
        if can and not pooled:
            assert readers.chosen("connectorx", Address(url), pooled=pooled) == "connectorx"
        else:
            with pytest.raises(ConfigError, match=r'cannot read over .*; expected "copy" or "auto"'):
                readers.chosen("connectorx", Address(url), pooled=pooled)


def test_decimals_of_the_database_are_what_units_count(database: str, read: Read) -> None:
    for held in ("0.1", "12.3456789", "0.0000000001"):
        add_row(database, cpu_hours=held)
    total = ask(database, "SELECT sum(cpu_hours) AS hours FROM usage_daily")[0]["hours"]
    for reader in READERS:
        assert Decimal(whole(read(reader))["cpu_hours"].sum()).scaleb(-10) == total


@pytest.mark.parametrize("reader", READERS)
def test_days_apart_are_read_at_one_moment(database: str, link: Connection, query: UsageQuery, reader: str) -> None:
    """A run covers open months on both sides of one that a backfill has closed: still one statement, one snapshot."""
    days = [date(2026, 4, 3), date(2026, 5, 4), date(2026, 6, 5)]
    for day in days:
        add_row(database, date=day, cpu_hours=1)
    spans = [(date(2026, 4, 1), date(2026, 4, 30)), JUNE]
    batches = readers.batches(Address(database), link, reader, query, spans)
    first = next(batches)
    ask(database, "UPDATE usage_daily SET cpu_hours = 2")
    frame = pl.concat([first, *batches])
    assert sorted(frame.select("date", "cpu_hours").rows()) == [(days[0], 10**10), (days[2], 10**10)]

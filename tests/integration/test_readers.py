"""Two readers, one frame: every value that usage_daily can hold, and a server that goes away in mid-read."""

import threading
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from itertools import product
from pathlib import Path
from uuid import UUID

import polars as pl
import psycopg
import pytest
import ways
from commands import CLUSTER, DAY, add_row, ask, costs
from killing import command
from polars.testing import assert_frame_equal
from usage_reads import READERS, read_spans, recorded_query
from ways import job_url
from wire import Statement, Verdict, Wire

from jobs.domain.errors import ConfigError, UnreachableError, UsageJobsError
from jobs.domain.schemas import usage_schema
from jobs.postgres.connections import Connection, connect, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import is_transient
from jobs.postgres.fingerprints import SEED
from jobs.postgres.sql_loader import in_spans
from jobs.postgres.usage_query import UsageQuery
from jobs.postgres.usage_reader import Reader, choose_reader
from jobs.settings import Settings, load

JUNE = (date(2026, 6, 1), date(2026, 6, 30))
Read = Callable[[str], pl.DataFrame]


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
    return recorded_query(link, settings, DAY)


@pytest.fixture
def reader(database: str, settings: Settings) -> Callable[[str], Reader]:
    """A reader by its kind; connectorx always past a pooler."""

    def of(kind: str) -> Reader:
        return Reader(kind, Address(job_url(database, lambda: settings) if kind in ways.READERS else database))

    return of


@pytest.fixture
def read(link: Connection, query: UsageQuery, reader: Callable[[str], Reader]) -> Read:
    """June, as one of the readers gives it."""
    return lambda kind: read_spans(link, reader(kind), query, [JUNE])


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


HOURS = {
    "0": 0,
    "0.0000000001": 1,
    "0.00000000005": 1,
    "0.00000000004999": 0,
    "0.00000000015": 2,
    "1.00000000025": 10_000_000_003,
    "7.123456789012345": 71_234_567_890,
    "99999999.99999999999": 10**18,
    "100000000": 10**18,
    "100000000.00000000001": -1,
    "-0.00000000001": -1,
    "NaN": -1,
    "Infinity": -1,
    "-Infinity": -1,
    None: 0,
}
CALLS = {0: 0, 1: 10**10, 100_000_000: 10**18, 100_000_001: -1, -1: -1, 2**31 - 1: -1, None: 0}
"""What units of ten places are made of it."""


@pytest.mark.parametrize("kind", READERS)
def test_any_user_and_any_quantity(database: str, read: Read, kind: str) -> None:
    ids = {add_row(database, user_id=user).int: user for user in (*NASTY, None)}
    hours = {add_row(database, cpu_hours=held, total_cost=held).int: held for held in HOURS}
    calls = {add_row(database, feature_store_api_calls=held).int: held for held in CALLS}
    found = {row["id"]: row for row in read(kind).iter_rows(named=True)}
    assert found.keys() == ids.keys() | hours.keys() | calls.keys()
    assert {id_: found[id_]["user_id"] for id_ in ids} == ids
    assert {held: found[id_]["cpu_hours"] for id_, held in hours.items()} == HOURS
    assert {held: found[id_]["recorded"] for id_, held in hours.items()} == HOURS | {None: None}
    assert {held: found[id_]["feature_store_api_calls"] for id_, held in calls.items()} == CALLS


@pytest.mark.parametrize("kind", READERS)
def test_the_frame_is_as_its_contract_says(database: str, read: Read, query: UsageQuery, kind: str) -> None:
    none = read(kind)
    assert (none.height, dict(none.schema)) == (0, usage_schema([meter.name for meter in query.meters]))
    id_ = add_row(database, id=UUID(int=2**128 - 1), hopsworks_cluster_id=CLUSTER, cpu_hours=2, total_cost="1.5")
    frame = read(kind)
    assert dict(frame.schema) == usage_schema([meter.name for meter in query.meters])
    [hashed] = ask(database, HASHED, SEED)
    assert frame.to_dicts() == [
        {"id": id_.int, "user_id": "ada", "date": DAY, "cluster_id": CLUSTER.int, "recorded": 15 * 10**9}
        | {"deducted": 0, "reported": False, "usage_hash": hashed["hash"], "written_hash": 0}
        | {"cpu_hours": 2 * 10**10, "gpu_hours": 0, "storage_gb": 0}
        | {"feature_store_api_calls": 0, "model_inference_calls": 0}
    ]


HASHED = """
SELECT hash_record_extended(
  ROW(date, hopsworks_cluster_id, cpu_hours, feature_store_api_calls, gpu_hours, model_inference_calls, storage_gb,
      total_cost),
  uuid_hash_extended(id, %s)) AS hash FROM usage_daily"""
"""A row's inputs, hashed with a seed by row; meters in the order of their names."""


@pytest.mark.parametrize("kind", READERS)
def test_what_the_job_writes_has_a_hash_of_its_own(database: str, read: Read, kind: str) -> None:
    for number, credits in enumerate((None, 0, "1.50")):
        add_row(database, id=UUID(int=number), credits_deducted=credits)
    before = read(kind)
    assert [hash_ != 0 for hash_ in before["written_hash"]] == [False, False, True]
    ask(database, "UPDATE usage_daily SET credits_deducted = 2.5")
    after = read(kind)
    assert after["usage_hash"].to_list() == before["usage_hash"].to_list()
    assert [new != old for new, old in zip(after["written_hash"], before["written_hash"], strict=True)] == [True] * 3


def test_both_give_the_same_frame(database: str, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.postgres.connections.BLOCK", 1_000)  # COPY comes in many blocks
    values = [None, "0", "NaN", "0.00000000005", "100000000", "3.3333333333", "-1"]
    for number, user in enumerate(NASTY * 3):
        add_row(
            database,
            user_id=user,
            date=date(2026, 6, 1 + number % 30),
            hopsworks_cluster_id=None if number % 2 else UUID(int=number),
            cpu_hours=values[number % 7],
            total_cost=values[number % 5],
            credits_deducted=values[number % 6],
            model_inference_calls=number,
        )
    add_row(database, date=date(2026, 5, 31))
    add_row(database, date=date(2026, 7, 1))
    frames = [read(kind) for kind in READERS]
    assert frames[0].height == 48
    assert frames[0]["usage_hash"].n_unique() == 48
    assert_frame_equal(*frames)


# Columns of binary floating-point types


BINARY = {
    "double precision": [
        ("0.1", 10**9),
        ("0.30000000000000004", 3 * 10**9),
        ("12345678.123456789", 123_456_781_234_567_900),
        ("0.00000000005", 1),
        ("0.00000000004999", 0),
        ("4.9e-324", 0),
        ("99999999.99999999", 999_999_999_999_999_900),
        ("100000000", 10**18),
        ("100000000.00000001", -1),
        ("-0", 0),
        ("-4.9e-324", -1),
        ("1.7e308", -1),
    ],
    "real": [
        ("0.1", 10**9),
        ("0.3333333433", 3_333_333_400),
        ("16777217", 16_777_216 * 10**10),
        ("1e-45", 0),
        ("100000000", 10**18),
        ("100000008", -1),
        ("-1e-45", -1),
        ("3e38", -1),
    ],
}
NOT_A_QUANTITY = [("NaN", -1), ("Infinity", -1), ("-Infinity", -1), (None, 0)]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(("binary", "digits"), [("double precision", -15), ("real", 0), ("double precision", None)])
def test_a_binary_quantity_is_the_shortest_decimal_that_stands_for_it(
    database: str, settings: Settings, reader: Callable[[str], Reader], binary: str, digits: int | None, kind: str
) -> None:
    """Whatever number of digits the database tells its sessions to show."""
    ask(database, f"ALTER TABLE usage_daily ALTER cpu_hours TYPE {binary}")
    if digits is not None:
        ask(database, f'ALTER DATABASE "{database.rpartition("/")[2]}" SET extra_float_digits = {digits}')
    every = [*BINARY[binary], *NOT_A_QUANTITY]
    for number, (held, _) in enumerate(every):
        add_row(database, id=UUID(int=number), cpu_hours=held)
    ways.left(database)  # what a pooler kept open has not heard of the setting
    with connect(Address(job_url(database, lambda: settings))) as fresh:
        frame = read_spans(fresh, reader(kind), recorded_query(fresh, settings, DAY), [JUNE])
    assert dict(zip(every, frame["cpu_hours"], strict=True)) == {(held, units): units for held, units in every}


# A server that goes away


STALLING = (
    "ALTER TABLE usage_daily RENAME TO usage_rows;"
    "CREATE FUNCTION stall(who text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
    "  IF who LIKE '20000x%' THEN PERFORM pg_advisory_lock(7); END IF; RETURN true; END $$;"
    "CREATE VIEW usage_daily AS SELECT * FROM usage_rows WHERE stall(user_id)"
)
WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"


class Reading(threading.Thread):
    """A read in a thread of its own: it ends with a ``frame``, or with an ``error``."""

    def __init__(self, read: Callable[[], pl.DataFrame]) -> None:
        super().__init__(daemon=True)
        self._read = read
        self.frame: pl.DataFrame | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.frame = self._read()
        except BaseException as error:
            self.error = error

    def wait_for(self, database: str) -> None:
        """Until it has come to the row that somebody holds back."""
        while self.is_alive() and not ask(database, WAITING):
            pass
        assert self.is_alive(), self.error


@pytest.mark.thorough
@pytest.mark.parametrize("kind", READERS)
def test_a_backend_that_dies_in_mid_read_is_no_short_read(
    database: str, link: Connection, read: Read, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("jobs.postgres.connections.BLOCK", 100_000)
    rows = 40_000  # of 1 kB each: more than the sockets hold between server and reader
    ask(
        database,
        "INSERT INTO usage_daily (user_id, date, cpu_hours)"
        f" SELECT n || repeat('x', 1000), '2026-06-01', 1 FROM generate_series(1, {rows}) AS n;" + STALLING,
    )
    with psycopg.connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")  # so that the server cannot have sent it all before we end it
        reading = Reading(lambda: read(kind))
        reading.wait_for(database)
        assert ask(database, WAITING.replace("SELECT pid", "SELECT pg_terminate_backend(pid) AS ended")) == [
            {"ended": True}
        ]
        reading.join()
    assert reading.frame is None
    error = reading.error
    assert isinstance(error, psycopg.OperationalError | UnreachableError), error
    assert is_transient(error), "a run reads again"
    if not isinstance(error, psycopg.Error):
        assert 'set reader = "copy"' in str(error)
        assert not link.info.password or link.info.password not in str(error)  # a trusting server asks for none


@pytest.mark.thorough
@pytest.mark.direct("has a wire of its own")
@pytest.mark.parametrize(("kind", "verdict"), [("connectorx", Verdict.CUT), ("copy", Verdict.LOSE)])
def test_a_run_whose_reader_is_cut_off_reads_again(database: str, verdict: Verdict, kind: str) -> None:
    add_row(database, cpu_hours=3)
    cut: list[Statement] = []

    def hook(statement: Statement) -> Verdict:
        if cut or '"cpu_hours" >= 0' not in statement.text:
            return Verdict.PASS
        cut.append(statement)
        return verdict

    with Wire(database, hook) as wire:
        process = command(wire.url, "run", "--date", "2026-06-20", USAGE_JOBS_READER=kind)
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert [statement.text.lstrip().startswith("COPY") for statement in cut] == [kind == "copy"]
    assert costs(database) == {"ada": Decimal("0.3")}


@pytest.mark.parametrize("kind", READERS)
def test_a_table_that_is_gone(database: str, link: Connection, read: Read, kind: str) -> None:
    ask(database, "DROP TABLE usage_daily")
    with pytest.raises((psycopg.errors.UndefinedTable, UsageJobsError), match="usage_daily"):
        read(kind)
    assert link.execute("SELECT 1").fetchone() == (1,)


# Which reader


ADDRESSES = (
    ("postgresql://u:p@h:5432/d", True),
    ("postgresql://u:p@h/d", True),
    ("postgresql://u:p@h:5432/d?sslmode=require", True),
    ("postgresql://u:p@h,i:5432/d", False),
    ("postgresql://u:p@h:5432/d?sslmode=verify-full", False),
    ("postgresql://u:p@h:5432/d?sslmode=verify-ca", False),
    ("postgresql://u:p@/d?host=/tmp", False),
    ("postgresql://u:p@h:5432/d?target_session_attrs=read-write", False),
)


def test_connectorx_reads_wherever_it_can_and_copy_elsewhere() -> None:
    for (url, can), pooled in product(ADDRESSES, (False, True)):
        assert choose_reader("copy", Address(url), pooled=pooled) == "copy"
        if can and not pooled:
            assert {choose_reader(asked, Address(url), pooled=pooled) for asked in ("auto", "connectorx")} == {
                "connectorx"
            }
        else:
            assert choose_reader("auto", Address(url), pooled=pooled) == "copy"
            with pytest.raises(ConfigError, match=r'cannot read over .*; expected "copy" or "auto"'):
                choose_reader("connectorx", Address(url), pooled=pooled)


# One moment


@pytest.mark.parametrize("kind", READERS)
def test_days_apart_are_read_at_one_moment(
    database: str, link: Connection, query: UsageQuery, reader: Callable[[str], Reader], kind: str
) -> None:
    """A run covers open months on both sides of one that a backfill has closed: still one statement, one snapshot."""
    days = [date(2026, 4, 3), date(2026, 5, 4), date(2026, 6, 5)]
    for day in days:
        add_row(database, user_id="20000x", date=day, cpu_hours=1)
    spans = [(date(2026, 4, 1), date(2026, 4, 30)), JUNE]
    ask(database, STALLING)
    with psycopg.connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        reading = Reading(lambda: read_spans(link, reader(kind), query, spans))
        reading.wait_for(database)
        ask(database, "UPDATE usage_rows SET cpu_hours = 2")
    reading.join()
    assert reading.frame is not None, reading.error
    assert sorted(reading.frame.select("date", "cpu_hours").rows()) == [(days[0], 10**10), (days[2], 10**10)]


@pytest.mark.parametrize("kind", READERS)
def test_a_reader_can_join_a_snapshot(
    database: str, link: Connection, query: UsageQuery, reader: Callable[[str], Reader], kind: str
) -> None:
    """As a dry run does: what it reads is of the moment at which its transaction began."""
    add_row(database, cpu_hours=1)
    with transaction(link, snapshot=True) as opened:
        [(name,)] = opened.execute("SELECT pg_export_snapshot()").fetchall()
        ask(database, "UPDATE usage_daily SET cpu_hours = 2")
        add_row(database, cpu_hours=3)
        joined = Reader(kind, reader(kind).address, name)
        frame = joined.read(opened, query, query.rows_where(in_spans("date", [JUNE])))
        assert frame["cpu_hours"].to_list() == [10**10]

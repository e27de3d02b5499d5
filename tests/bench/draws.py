"""Draws of a first run, beside the same draws by SQL window functions, and by one function call per row on a sample.

    python tests/bench/draws.py --users 100000 --days 30

A third of the users are prepaid, with credit for every day. Every row has a recorded cost, so that SQL need not price;
the job does everything that a run does. Each contender writes ledger, transactions, accounts and credits_deducted, on
its own copy of one database; that both leave the same draws is checked.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import psycopg

from jobs import chunk, drawing
from jobs.demo import sample
from jobs.demo.server import running
from jobs.look import apply_schema
from jobs.run import Job, perform
from jobs.settings import load
from jobs.store import accounts, rows, tables
from jobs.store.address import Address

LAST_DAY = date(2026, 6, 30)
SQL = Path(__file__).parent
STAGES: dict[str, tuple[Any, str]] = {
    "price": (chunk, "priced"),
    "draw (both passes)": (drawing, "_computed"),
    "post ledger, transactions, accounts": (accounts, "post"),
    "write credits_deducted": (rows, "write"),
    "write roll-ups": (tables, "put"),
}


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--users", type=int, default=100_000)
    words.add_argument("--days", type=int, default=30)
    words.add_argument("--calls", type=int, default=10_000, help="rows of the sample that is drawn call by call")
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        bench(Path(folder), given)


def bench(folder: Path, given: argparse.Namespace) -> None:
    with running(folder / "server") as url:
        prepare(url, given.users, given.days)
        copies = {name: copy(url, name) for name in ("job", "windows", "calls")}
        job(copies["job"], given.days)
        windows(copies["windows"])
        calls(copies["calls"], given.calls)
        same = [drawn(copies[name]) for name in ("job", "windows")]
        assert same[0] == same[1], same
        print(f"the same draws: {same[0][0]:,} rows, {same[0][1]} credits, checksum {same[0][2]}")


def prepare(url: str, users: int, days: int) -> None:
    """Usage of one month, its costs recorded, credit for all of it."""
    with psycopg.connect(url, autocommit=True) as connection:
        sample.create_tables(connection)
        sample.load(connection, users=users, days=days, last_day=LAST_DAY)
        connection.execute((SQL / "draws_prepare.sql").read_bytes())
        connection.execute("VACUUM ANALYZE")
    apply_schema(load(None, {}, Path.cwd()), Address(url))


def copy(url: str, name: str) -> str:
    parts = urlsplit(url)
    with psycopg.connect(parts._replace(path="/template1").geturl(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE postgres STRATEGY file_copy".encode())
        connection.execute("CHECKPOINT")
    return parts._replace(path=f"/{name}").geturl()


def job(url: str, days: int) -> None:
    settings = load(None, {"USAGE_JOBS_START": f"{LAST_DAY:%Y-%m}"}, Path.cwd())
    seconds: dict[str, float] = defaultdict(float)
    with timed(seconds):
        started = perf_counter()
        report = perform(Job(settings, Address(url), today=date(2026, 7, 1), day=LAST_DAY))
        took = perf_counter() - started
    print(f"usage-jobs, first run of {days} days: {took:.1f} s, {report.rows_read:,} rows read")
    for stage, spent in ({**report.seconds, **seconds}).items():
        print(f"    {stage:40} {spent:6.1f} s")
    started = perf_counter()
    again = perform(Job(settings, Address(url), today=date(2026, 7, 1), day=LAST_DAY))
    print(f"usage-jobs, the same again: {perf_counter() - started:.1f} s, {again.rows_changed} rows changed")


@contextmanager
def timed(seconds: dict[str, float]) -> Iterator[None]:
    """Adds up what the calls of STAGES take."""
    before = {stage: getattr(module, name) for stage, (module, name) in STAGES.items()}
    for stage, (module, name) in STAGES.items():
        setattr(module, name, _clocked(before[stage], stage, seconds))
    yield
    for stage, (module, name) in STAGES.items():
        setattr(module, name, before[stage])


def _clocked(function: Callable[..., Any], stage: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        started = perf_counter()
        try:
            return function(*given, **named)
        finally:
            seconds[stage] += perf_counter() - started

    return call


def windows(url: str) -> None:
    """As its fan would: computed once into a temporary table, then one statement per result, one transaction."""
    with psycopg.connect(url) as connection:
        started = perf_counter()
        for statement in (SQL / "draws_windows.sql").read_text().split(";\n"):
            if statement.strip():
                begun = perf_counter()
                connection.execute(statement.encode())
                print(f"    {statement.strip().splitlines()[0][3:]:40} {perf_counter() - begun:6.1f} s")
        connection.commit()
        print(f"SQL window functions, draws alone: {perf_counter() - started:.1f} s")


def calls(url: str, count: int) -> None:
    """Once per user and day: lock, subtract, insert, update, commit."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((SQL / "draws_function.sql").read_bytes())
        wanted = "FROM usage_daily JOIN user_credits USING (user_id) WHERE total_cost > 0"
        total = connection.execute(f"SELECT count(*) {wanted}".encode()).fetchone()
        ids = connection.execute(f"SELECT usage_daily.id {wanted} LIMIT {count}".encode()).fetchall()
        started = perf_counter()
        for row in ids:
            connection.execute("SELECT deduct(%s)", row)
        each = (perf_counter() - started) / len(ids)
    assert total is not None
    print(f"one call per row: {each * 1000:.2f} ms each, so {each * total[0]:,.0f} s for {total[0]:,} rows")


def drawn(url: str) -> tuple[int, str, str]:
    """How many draws there are, what they add up to, and a checksum over each row's."""
    text = (
        "SELECT count(*), sum(free + purchased)::text,"
        " sum(hashtextextended(usage_daily_id::text || trim_scale(free) || '+' || trim_scale(purchased), 0))::text"
        " FROM rollup.credit_draws"
    )
    with psycopg.connect(url) as connection:
        row = connection.execute(text.encode()).fetchone()
    assert row is not None
    return row


if __name__ == "__main__":
    main()

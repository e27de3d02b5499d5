"""What the laws about runs that die, collide or are cut off share: real processes, copies of databases, comparison."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import urlsplit

import psycopg
from commands import mapped
from conftest import Databases
from psycopg import IsolationLevel, sql
from psycopg.rows import dict_row
from ways import left

OWN = {
    "user_daily": ("date", "user_id", "cluster_id"),
    "user_monthly": ("month", "user_id"),
    "cluster_daily": ("date", "cluster_id"),
    "cluster_monthly": ("month", "cluster_id"),
    "touched_days": ("batch", "date"),
    "months": ("month",),
    "rejects": ("usage_daily_id",),
    "credit_draws": ("usage_daily_id", "user_id", "revision"),
    "billing_modes": ("user_id", "valid_from"),
    "corrections": ("month", "user_id", "cause"),
}
THEIRS = {
    "usage_daily": "SELECT id, user_id, total_cost::text, credits_deducted FROM usage_daily",
    "user_credits": "SELECT user_id, total_purchased, total_used, free_credits_granted, free_credits_used "
    "FROM user_credits",
    # Our ids and times are new each time: a transaction is what it says, and how often it stands there.
    "credit_transactions": "SELECT user_id, type, amount, balance_before, balance_after, "
    "(metadata - 'run_id')::text AS metadata, count(*) FROM credit_transactions GROUP BY 1, 2, 3, 4, 5, 6",
}
KEYS_OF_THEIRS = {
    "usage_daily": ("id",),
    "user_credits": ("user_id",),
    "credit_transactions": ("user_id", "type", "amount", "balance_before", "balance_after", "metadata"),
}
OF_THE_RUN = {"run_id", "updated_at", "first_seen", "last_seen", "closed_at", "closed_by", "posted_at"}
OF_USERS = ("user_daily", "user_monthly", "usage_daily", "user_credits", "credit_draws", "credit_transactions")
"""Tables whose rows are written with their user, all together."""
HISTORY = {"credit_draws": ["usage_daily_id", "user_id"], "credit_transactions": ["user_id"]}
"""Tables that also say in how many steps their sums came about."""
Rows = dict[tuple[Any, ...], dict[str, Any]]
Tables = Mapping[str, Rows]
Row = dict[str, Any] | None


def command(url: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """usage-jobs in a process of its own, started and not waited for."""
    words = [sys.executable, "-c", "from jobs.cli.main import main; raise SystemExit(main())", *arguments]
    return subprocess.Popen(
        words,
        env=os.environ | mapped(arguments, {"DATABASE_URL": url, **environment}, os.environ),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def began(process: subprocess.Popen[str]) -> None:
    """Waits until the run says that it plans: what comes before writes nothing, and takes most of the time."""
    assert process.stdout is not None
    assert any('"plan"' in line for line in process.stdout), "it ended before it had a plan"


class Server(Protocol):
    """``url``: of its database postgres."""

    url: str


def cloned(databases: Server, name: str) -> str:
    """A copy of a database that nobody is connected to."""
    left(urlsplit(databases.url)._replace(path=f"/{name}").geturl())
    copy = f"{name}_{random.Random().randrange(10**12)}"
    with psycopg.connect(databases.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copy), sql.Identifier(name)))
    return urlsplit(databases.url)._replace(path=f"/{copy}").geturl()


@contextmanager
def copies(databases: Databases, name: str) -> Iterator[Callable[[], str]]:
    """A function that makes a copy and returns its URL; all are dropped at the end."""
    urls: list[str] = []

    def made() -> str:
        urls.append(cloned(databases, name))
        return urls[-1]

    yield made
    databases.retire(urls)


def named(url: str) -> str:
    """The database's name."""
    return urlsplit(url).path[1:]


def released(url: str) -> None:
    """Waits until the server has noticed that the client is gone, or silent for too long: its lock falls."""
    with psycopg.connect(url) as connection:
        connection.execute("SET lock_timeout = '90s'")
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('usage-jobs'), hashtext('rollup'))")


def tables(url: str) -> dict[str, Rows]:
    """Every table that a run writes, without what differs from run to run."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ  # of one moment, whoever still commits
        found = {}
        for name, key in OWN.items():
            rows = connection.execute(sql.SQL("SELECT * FROM rollup.{}").format(sql.Identifier(name))).fetchall()
            found[name] = _keyed(rows, key)
        for name, text in THEIRS.items():
            found[name] = _keyed(connection.execute(text.encode()).fetchall(), KEYS_OF_THEIRS[name])
    return found


def without_history(found: Tables) -> dict[str, Any]:
    """The tables, of those that also say in how many steps their sums came about only these sums; and not how often a
    month was written."""
    rest = {name: rows for name, rows in found.items() if name not in HISTORY}
    months = [{k: v for k, v in row.items() if k != "revision"} for row in found["user_monthly"].values()]
    ordered = sorted(months, key=lambda row: (row["month"], row["user_id"]))
    return rest | {name: _summed(found, name, by) for name, by in HISTORY.items()} | {"user_monthly": ordered}


def _summed(found: Tables, name: str, by: list[str]) -> dict[tuple[Any, ...], list[Decimal]]:
    sums: dict[tuple[Any, ...], list[Decimal]] = {}
    for row in found[name].values():
        moved = [row["amount"] * row["count"]] if "amount" in row else [row["free"], row["purchased"]]
        key = tuple(row[column] for column in by)
        sums[key] = [a + b for a, b in zip(sums.get(key, [Decimal(0)] * 2), moved, strict=False)]
    return {key: parts for key, parts in sums.items() if any(parts)}


def _keyed(rows: list[dict[str, Any]], key: tuple[str, ...]) -> Rows:
    kept = [{column: row[column] for column in row.keys() - OF_THE_RUN} for row in rows]
    return {tuple(row[part] for part in key): row for row in kept}


def differing(found: Tables, expected: Tables) -> list[str]:
    """Each row that is not as expected, and how: the comparison of whole tables would bury it."""
    return [
        f"{table} {key}: {one} instead of {two}"
        for table in expected
        for key in found[table].keys() | expected[table].keys()
        for one, two in [_apart(found[table].get(key), expected[table].get(key))]
        if one != two
    ]


def _apart(one: Row, two: Row) -> tuple[Row, Row]:
    """Both without the columns in which they agree."""
    if one is None or two is None:
        return one, two
    apart = [column for column in one if one[column] != two[column]]
    return {column: one[column] for column in apart}, {column: two[column] for column in apart}


def states(url: str) -> list[str]:
    """What the log says of each run, oldest first."""
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT status FROM rollup.runs ORDER BY run_id")]


def whole_users(found: Tables, before: Tables, after: Tables) -> str:
    """Each user stands as before or as after the run, in all tables at once: nothing between."""
    seen: dict[str, set[str]] = {}
    for owner, where, was, now, will in _changes(found, before, after):
        assert now in (was, will), where
        seen.setdefault(owner, set()).add("before" if now == was else "after")
    assert seen
    assert all(len(state) == 1 for state in seen.values()), seen
    return f"{sum(state == {'after'} for state in seen.values())} of {len(seen)} done"


def _changes(found: Tables, before: Tables, after: Tables) -> Iterator[tuple[str, object, Row, Row, Row]]:
    """Owner, place, and the row before, now and after, of each row that differs between before and after."""
    for table in OF_USERS:
        for key in before[table].keys() | after[table].keys() | found[table].keys():
            was, now, will = before[table].get(key), found[table].get(key), after[table].get(key)
            if was != will or now != was:
                yield (was or will or now or {})["user_id"], (table, key), was, now, will

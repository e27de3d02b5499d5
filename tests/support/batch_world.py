"""A small database for what other clients do between the statements of a batch, and how its tables are compared.

Six users over the end of a month. A first run has done four days; then usage came in late, a day was added, and
credit was bought: the next run has something to write for everybody, in more than one batch.
"""

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from plain_runs import Runs
from psycopg.rows import dict_row
from purchases import buy
from wire import Hook, Statement, Verdict, Wire

FIRST, DONE, DAY = date(2026, 5, 30), date(2026, 6, 2), date(2026, 6, 3)
RUNS = Runs(
    {
        "USAGE_JOBS_COST": "rated",
        "USAGE_JOBS_START": "2026-05",
        "USAGE_JOBS_CLOSE_AFTER_DAYS": "60",  # both months stay open
        "USAGE_JOBS_READER": "copy",  # every statement passes the wire
        "USAGE_JOBS_WORKERS": "1",  # in one order, statement after statement
        "USAGE_JOBS_BATCH_ROWS": "15",  # three users of five days
    }
)
USERS = {  # billing mode, free credits granted, credits purchased
    "ann": ("prepaid", 5, 100),
    "ben": ("prepaid", 1, 2),  # short
    "cy": ("prepaid", 2, 50),
    "dora": ("postpaid", 1, 30),
    "eve": ("prepaid", 0, 3),  # short
    "fay": ("postpaid", None, None),
}
CHANGES = (
    "UPDATE usage_daily SET cpu_hours = cpu_hours + 3.33 WHERE user_id = 'ann' AND date = '2026-05-31'",
    "UPDATE usage_daily SET cpu_hours = cpu_hours - 5 WHERE user_id = 'cy' AND date = '2026-06-01'",
    "UPDATE usage_daily SET user_id = 'eve' WHERE user_id = 'ben' AND date = '2026-05-30'",
)
OF_THE_RUN = {"run_id", "updated_at", "revision", "first_seen", "last_seen", "closed_at", "closed_by"}
"""Columns that tell who wrote a row and how often, not what it says; the hashes (…_hash) are a private matter too."""
COMPARED = {
    "user_daily": "SELECT * FROM rollup.user_daily",
    "user_monthly": "SELECT * FROM rollup.user_monthly",
    "cluster_daily": "SELECT * FROM rollup.cluster_daily",
    "cluster_monthly": "SELECT * FROM rollup.cluster_monthly",
    "months": "SELECT * FROM rollup.months",
    "rejects": "SELECT usage_daily_id, reason FROM rollup.rejects",
    "billing_modes": "SELECT user_id, valid_from, mode FROM rollup.billing_modes",
    "credit_draws": "SELECT usage_daily_id, user_id, sum(free) AS free, sum(purchased) AS purchased "
    "FROM rollup.credit_draws GROUP BY 1, 2 HAVING sum(free) <> 0 OR sum(purchased) <> 0",
    "usage_daily": "SELECT id, user_id, date, cpu_hours, total_cost, coalesce(credits_deducted, 0) AS deducted "
    "FROM usage_daily",
    "user_credits": "SELECT user_id, total_purchased, total_used, free_credits_granted, free_credits_used "
    "FROM user_credits",
    "credit_transactions": "SELECT user_id, type, sum(amount) AS amount FROM credit_transactions "
    "GROUP BY 1, 2 HAVING sum(amount) <> 0",
}
Facts = dict[str, list[str]]


def fill(url: str) -> None:
    """The database before the run that the tests disturb."""
    RUNS.prepare(url)
    with psycopg.connect(url) as connection:
        for number, (user, (mode, granted, purchased)) in enumerate(USERS.items()):
            connection.execute("INSERT INTO users (id, billing_mode) VALUES (%s, %s)", [user, mode])
            cluster = "INSERT INTO hopsworks_clusters (id, name) VALUES (%s, %s)"
            connection.execute(cluster, [UUID(int=number + 1), f"cluster {number}"])
            if granted is not None:
                text = "INSERT INTO user_credits (user_id, free_credits_granted, total_purchased) VALUES (%s, %s, %s)"
                connection.execute(text, [user, granted, purchased])
        _use(connection, [FIRST, date(2026, 5, 31), date(2026, 6, 1), DONE])
    RUNS.run(url, DONE)
    with psycopg.connect(url) as connection:
        for change in CHANGES:
            connection.execute(change.encode())
        buy(connection, "ben", Decimal(1))
        _use(connection, [DAY])


def _use(connection: psycopg.Connection, days: Sequence[date]) -> None:
    """1.004 dollars of everybody's each day: parts of a cent run along."""
    text = "INSERT INTO usage_daily (id, user_id, date, cpu_hours, hopsworks_cluster_id) VALUES (%s, %s, %s, %s, %s)"
    for day in days:
        for number, user in enumerate(USERS):
            id_, cluster = UUID(int=day.toordinal() * 100 + number), UUID(int=number % 2 + 1)
            connection.execute(text, [id_, user, day, Decimal("10.04"), cluster])


def wired(url: str, hook: Hook) -> None:
    """The run of the night behind a wire."""
    with Wire(RUNS.address(url), hook) as wire:
        RUNS.run(wire.url, DAY, directly=True)


def recorded(url: str) -> list[Statement]:
    """Every statement of an undisturbed run."""
    seen: list[Statement] = []

    def hook(statement: Statement) -> Verdict:
        seen.append(statement)
        return Verdict.PASS

    wired(url, hook)
    return seen


def batches(statements: Sequence[Statement]) -> list[list[Statement]]:
    """Of these the transactions, from BEGIN to COMMIT, that lock rows of usage_daily FOR NO KEY UPDATE."""
    found = []
    for connection in sorted({statement.connection for statement in statements}):
        open_: list[Statement] = []
        for statement in (each for each in statements if each.connection == connection):
            words = statement.text.upper()
            if words.startswith("BEGIN"):
                open_ = []
            open_.append(statement)
            if words.startswith("COMMIT") and any(_locks_usage(each.text) for each in open_):
                found.append(open_)
    return found


def _locks_usage(text: str) -> bool:
    return "usage_daily" in text and "FOR NO KEY UPDATE" in " ".join(text.upper().split())


def facts(url: str) -> Facts:
    """What the tables say, in an order of their own."""
    found: Facts = {}
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for name, text in COMPARED.items():
            found[name] = sorted(_told(row) for row in connection.execute(text.encode()))
    return found


def _told(row: dict[str, Any]) -> str:
    """Amounts by value: 1.0 and 1.00 are one."""
    kept = {name: value for name, value in row.items() if name not in OF_THE_RUN and not name.endswith("_hash")}
    plain = {name: value.normalize() + 0 if isinstance(value, Decimal) else value for name, value in kept.items()}
    return str(dict(sorted((name, _ordered(value)) for name, value in plain.items())))


def _ordered(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, list) else value


def differences(found: Facts, expected: Facts) -> list[str]:
    """Each row that only one of them has."""
    return [
        f"{table}, {who}: {row}"
        for table in expected
        for who, rows, others in (("found", found, expected), ("expected", expected, found))
        for row in rows[table]
        if row not in others[table]
    ]


Act = Callable[[psycopg.Connection], object]
"""What another client does in one transaction of its own."""

"""A small night full of credits, for the laws about runs that die, collide or are cut off.

Seven prepaid users and a postpaid one, over the end of a month. A first run has booked four days; then usage was
raised, lowered, deleted, spoiled, healed and moved between users, a day was added, credit was bought, and a user
became prepaid: the run of the night posts draws and corrections in both directions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psycopg
from commands import ask, explicit
from conftest import Databases
from killing import Tables, cloned, named, tables
from server_day import server_day
from ways import job_url, owner_url
from wire import Hook, Statement, Verdict, Wire

from jobs.domain.run_report import Report
from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import RunRequest
from jobs.postgres.conninfo import Address
from jobs.postgres.schema_script import apply_schema
from jobs.settings import Settings, load

FIRST, BOOKED, LAST_DAY, TODAY = date(2026, 5, 30), date(2026, 6, 2), date(2026, 6, 3), date(2026, 6, 21)
SETTINGS = {
    "USAGE_JOBS_COST": "rated",
    "USAGE_JOBS_READER": "copy",  # connectorx has a connection of its own, which no wire would see end
    "USAGE_JOBS_WORKERS": "1",  # in one order, statement after statement
    "USAGE_JOBS_START": "2026-05",
    "USAGE_JOBS_CLOSE_AFTER_DAYS": "60",  # both months stay open
    "USAGE_JOBS_BATCH_ROWS": "25",  # two batches
}
EACH_USER_ALONE = SETTINGS | {"USAGE_JOBS_BATCH_ROWS": "5"}
MONEY = {  # mode, free credits granted, credits purchased
    "ann": ("prepaid", "5", "100"),
    "ben": ("prepaid", "1", "2"),  # short, and buys too little
    "cy": ("prepaid", "2", "50"),  # loses May
    "dora": ("prepaid", "2", "1"),  # gives a row to eve
    "eve": ("prepaid", "0.5", "3"),
    "fay": ("postpaid", None, None),
    "gus": ("postpaid", "1", "10"),  # becomes prepaid
    "hal": ("prepaid", "0", "20"),  # one row heals, one is spoiled
}
SHORT = ("ben", "eve")
BATCH = ("FOR SHARE", '"usage_jobs_user_monthly"')
"""What a batch says and no other transaction: its ownership check, and the stage of its users' months."""
READ = "COPY (-- Usage rows"
"""How the statement begins with which a batch reads usage, in a transaction before its own."""
CHANGES = (
    "UPDATE usage_daily SET cpu_hours = cpu_hours + 3.33 WHERE user_id = 'ann' AND date = '2026-05-30'",
    "UPDATE usage_daily SET cpu_hours = cpu_hours - 5 WHERE user_id = 'ann' AND date = '2026-06-01'",
    "DELETE FROM usage_daily WHERE user_id = 'cy' AND date < '2026-06-01'",
    "UPDATE usage_daily SET user_id = 'eve' WHERE user_id = 'dora' AND date = '2026-06-01'",
    "UPDATE usage_daily SET cpu_hours = 10.04 WHERE user_id = 'hal' AND date = '2026-05-30'",
    "UPDATE usage_daily SET cpu_hours = 'NaN' WHERE user_id = 'hal' AND date = '2026-06-02'",
    "UPDATE users SET billing_mode = 'prepaid' WHERE id = 'gus'",
)
PURCHASE = """
WITH bought AS (
  UPDATE user_credits SET total_purchased = total_purchased + %(amount)s WHERE user_id = %(user)s
  RETURNING user_id, total_purchased + free_credits_granted - total_used - free_credits_used AS balance
)
INSERT INTO credit_transactions (user_id, type, amount, balance_before, balance_after, created_at)
SELECT user_id, 'purchase', %(amount)s, balance - %(amount)s, balance, clock_timestamp() FROM bought
"""


@dataclass(frozen=True)
class Night:
    """A database before the night's run; what every table holds before and after an undisturbed one; every statement
    of that one."""

    url: str
    before: Tables
    after: Tables
    statements: tuple[Statement, ...]

    @property
    def name(self) -> str:
        return named(self.url)

    def writing(self) -> list[list[Statement]]:
        """The statements of each transaction that may write: its begin, its modes, its batches, its end."""
        return [t for t in self.committing() if any("FOR SHARE" in text or "INSERT" in text for text in map(bare, t))]

    def batches(self) -> list[list[Statement]]:
        """Those of them that make the ownership check and write users' months."""
        written = [t for t in self.writing() if all(any(word in bare(s) for s in t) for word in BATCH)]
        assert len(written) > 1, "the night should have more than one batch"
        return written

    def reads(self) -> list[list[Statement]]:
        """The transactions, before those of the batches, in which the change check and these read without a lock."""
        read = [t for t in self.committing() if any(s.text.startswith(READ) for s in t)]
        assert len(read) > len(self.batches()), "each batch should read by itself"
        return read

    def committing(self) -> list[list[Statement]]:
        """The statements from each BEGIN to its COMMIT."""
        found: list[list[Statement]] = []
        for connection in {statement.connection for statement in self.statements}:
            ours = [statement for statement in self.statements if statement.connection == connection]
            begins = [n for n, statement in enumerate(ours) if statement.text.startswith("BEGIN")]
            for begin, after in zip(begins, [*begins[1:], None], strict=True):
                texts = [statement.text for statement in ours[begin:after]]
                if "COMMIT" in texts:
                    found.append(ours[begin : begin + texts.index("COMMIT") + 1])
        return found


def boundaries(transactions: Iterable[list[Statement]]) -> list[Statement]:
    """The statements before which something may happen: limits (SET LOCAL) apart, before and after which all is one."""
    return [s for transaction in transactions for s in transaction if not s.text.startswith("SET LOCAL")]


def bare(statement: Statement) -> str:
    """A statement without its comments."""
    return "\n".join(line for line in statement.text.splitlines() if not line.startswith("--"))


def settings() -> Settings:
    return load(None, SETTINGS, Path(__file__).parent)


def run(url: str, day: date = LAST_DAY) -> Report:
    """The night's run, in this process."""
    with server_day(TODAY):
        return run_job(RunRequest(explicit(settings(), url, day), Address(job_url(url, settings)), day=day))


def wired(url: str, hook: Hook) -> Report:
    """The night's run behind a wire, in this process."""
    with Wire(job_url(url, settings), hook) as wire:
        return run(wire.url)


def buy(url: str, user: str, amount: Decimal = Decimal(5)) -> None:
    """A purchase as another program posts it, in a transaction of its own."""
    with psycopg.connect(url) as connection:
        connection.execute(PURCHASE, {"user": user, "amount": amount})


def filled(databases: Databases) -> str:
    """The night's database before any run."""
    url = databases.create("a")
    apply_schema(settings(), Address(owner_url(url)))
    with psycopg.connect(url) as connection:
        _fill(connection)
    return url


def upset(url: str) -> None:
    """What happened since the first run."""
    with psycopg.connect(url) as connection:
        for change in CHANGES:
            connection.execute(change.encode())
        _use(connection, [LAST_DAY])
    buy(url, "ben", Decimal("1.5"))


def made(databases: Databases) -> Night:
    """The night's database, and what its run does to it."""
    url = filled(databases)
    run(url, BOOKED)
    upset(url)
    before, copy = tables(url), cloned(databases, named(url))
    seen: list[Statement] = []
    wired(copy, watching(seen.append))
    night = Night(url, before, tables(copy), tuple(seen))
    databases.retire([copy])
    return night


def took(url: str) -> float:
    """The seconds from the begin of the last run to its end."""
    text = "SELECT extract(epoch FROM finished_at - started_at)::float AS took FROM rollup.runs ORDER BY run_id"
    return float(ask(url, text)[-1]["took"])


def watching(look: Callable[[Statement], object]) -> Hook:
    """A hook that lets everything pass."""

    def hook(statement: Statement) -> Verdict:
        look(statement)
        return Verdict.PASS

    return hook


def _fill(connection: psycopg.Connection) -> None:
    for user, (mode, granted, purchased) in MONEY.items():
        connection.execute("INSERT INTO users (id, billing_mode) VALUES (%s, %s)", [user, mode])
        if granted is not None:
            text = "INSERT INTO user_credits (user_id, free_credits_granted, total_purchased) VALUES (%s, %s, %s)"
            connection.execute(text, [user, granted, purchased])
    connection.execute("INSERT INTO hopsworks_clusters (id, name) VALUES (%s, 'eu')", [UUID(int=1)])
    _use(connection, [FIRST + timedelta(days=n) for n in range((BOOKED - FIRST).days + 1)])
    spoiled = "UPDATE usage_daily SET cpu_hours = 'NaN' WHERE user_id = 'hal' AND date = %s"
    connection.execute(spoiled, [FIRST])


def _use(connection: psycopg.Connection, days: Iterable[date]) -> None:
    """1.004 dollars of everybody's each day: parts of a cent run along."""
    text = "INSERT INTO usage_daily (id, user_id, date, cpu_hours, hopsworks_cluster_id) VALUES (%s, %s, %s, 10.04, %s)"
    for day in days:
        for number, user in enumerate(MONEY):
            cluster = UUID(int=1) if number % 2 else None
            connection.execute(text, [UUID(int=day.toordinal() * 100 + number), user, day, cluster])

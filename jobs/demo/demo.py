"""The demo: an embedded PostgreSQL, sample usage, two nightly runs, the roll-ups, and commands to try next."""

import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from jobs.demo import sample
from jobs.demo.server import run_server
from jobs.domain.billing_periods import first_of, previous_month
from jobs.domain.run_report import Report
from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import Progress, RunRequest
from jobs.postgres import server_clock
from jobs.postgres.connections import Connection, connect
from jobs.postgres.conninfo import Address
from jobs.postgres.schema_script import apply_schema
from jobs.settings import Settings, files, load

SETTINGS = """\
# Settings of the demo: the defaults, and the embedded server with its data in this folder.
# The server runs only while a command uses it.
embedded = "."
start = "{start:%Y-%m}"
rates = "rates.csv"
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a demo: the reports of its runs, rows of some rollup tables, and commands to try next."""

    reports: list[Report]
    tables: dict[str, list[dict[str, Any]]]
    commands: list[str]


def run_demo(
    directory: Path,
    users: int,
    days: int,
    show: Callable[[str | Report], None],
    show_progress: Callable[[], AbstractContextManager[Progress]],
) -> Outcome:
    """Runs the demo in ``directory``: sample usage of ``users`` on ``days`` days, then two runs.

    The directory is created if it does not exist; the sample usage of an earlier demo is replaced. ``show`` is called
    with a line, and with the report of each run.
    """
    with run_server(directory) as url:
        address = Address(url)
        with connect(address) as connection:
            last_day = server_clock.today(connection) - timedelta(days=1)
        # The settings file is written beside the data: the commands printed at the end use it to find this server.
        text = SETTINGS.format(start=previous_month(first_of(last_day)))
        (directory / files.SETTINGS).write_text(text, encoding="utf-8")
        (directory / files.RATES).write_text(files.shipped(files.RATES).read_text("utf-8"), encoding="utf-8")
        settings = load(directory / files.SETTINGS, {}, Path.cwd())
        show(f"filling {users:,} users × {days:,} days of sample usage into {directory}")
        with connect(address) as connection:
            _load_sample(connection, settings, users, days, last_day)
        apply_schema(settings, address)
        reports = []
        for _ in range(2):
            with show_progress() as progress:
                reports.append(run_job(RunRequest(settings, address, progress=progress)))
            show(reports[-1])
        with connect(address) as connection:
            tables = {name: _query(connection, name) for name in ("user_monthly", "cluster_monthly", "rejects")}
            month = _query(connection, "override_month")[0]["month"]
    return Outcome(reports, tables, _next_commands(directory, month))


def _load_sample(connection: Connection, settings: Settings, users: int, days: int, last_day: date) -> None:
    """Drops the tables of an earlier demo, creates those of shape A, and loads sample usage."""
    own = sql.Identifier(settings.rollup_schema)
    with connection.transaction():
        for schema in (sql.Identifier("public"), own):
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
        connection.execute("CREATE SCHEMA public")
        sample.create_tables(connection)
        sample.load(connection, users=users, days=days, last_day=last_day)
    connection.execute("ANALYZE")


def _query(connection: Connection, name: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        text = resources.files("jobs.demo").joinpath("sql", f"{name}.sql").read_text("utf-8")
        return cursor.execute(sql.SQL(text)).fetchall()


def _next_commands(directory: Path, month: str) -> list[str]:
    config = f"--config {shlex.quote(str(directory / 'settings.toml'))}"
    files = {
        "export --by user,cluster": "usage.csv",
        "statement --user 'auth0|demo-prepaid'": "statement.html",
        "report": "report.html",
    }
    commands = [
        *(f"explain --user 'auth0|demo-{name}' --month {month}" for name in ("tiers", "prepaid", "override")),
        *(f"{words} --month {month} --out {shlex.quote(str(directory / file))}" for words, file in files.items()),
        *("reconcile", "check", "runs", "run"),
    ]
    return [f"usage-jobs {command} {config}" for command in commands]

"""The demo: a PostgreSQL of its own, sample usage, the nightly job twice, the roll-ups, and what to try next."""

import shlex
from datetime import date, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from rich.table import Table

from jobs import look, show
from jobs.demo import sample
from jobs.demo.server import running
from jobs.model.report import Report
from jobs.model.windows import first_of, previous_month
from jobs.pipeline.run import Job, perform
from jobs.settings import Settings, files, load
from jobs.store import clock
from jobs.store.address import Address
from jobs.store.database import Connection, connect

SETTINGS = """\
# Settings of the demo in this folder: the defaults, on the embedded server whose data lies here.
# Its server runs only while a command uses it.
embedded = "."
start = "{start:%Y-%m}"
rates = "rates.csv"
"""


def tell(directory: Path, users: int, days: int, *, as_json: bool) -> int:
    """Runs the demo in ``directory`` (made anew, or filled anew) and returns 0, although its usage holds rejects."""
    with running(directory) as url:
        address = Address(url)
        with connect(address) as connection:
            last_day = clock.today(connection) - timedelta(days=1)
        # Beside the data, so that the commands printed at the end find the same server by it.
        text = SETTINGS.format(start=previous_month(first_of(last_day)))
        (directory / files.SETTINGS).write_text(text, encoding="utf-8")
        (directory / files.RATES).write_text(files.shipped(files.RATES).read_text("utf-8"), encoding="utf-8")
        settings = load(directory / files.SETTINGS, {}, Path.cwd())
        _say(f"filling {users:,} users × {days:,} days of sample usage into {directory}", as_json)
        with connect(address) as connection:
            _fill(connection, settings, users, days, last_day)
        look.apply_schema(settings, address)
        reports = []
        for _ in range(2):
            with show.progress() as progress:
                reports.append(perform(Job(settings, address, progress=progress)))
            if not as_json:
                show.report(reports[-1], as_json=False)
        with connect(address) as connection:
            _show(connection, directory, reports, as_json)
    return 0


def _say(text: str, as_json: bool) -> None:
    if not as_json:
        show.console(to_error=True).print(text, markup=False)


def _fill(connection: Connection, settings: Settings, users: int, days: int, last_day: date) -> None:
    """Drops what an earlier demo left and loads shape A with sample usage."""
    own = sql.Identifier(settings.rollup_schema)
    with connection.transaction():
        for schema in (sql.Identifier("public"), own):
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
        connection.execute("CREATE SCHEMA public")
        sample.create_tables(connection)
        sample.load(connection, users=users, days=days, last_day=last_day)
    connection.execute("ANALYZE")


def _show(connection: Connection, directory: Path, reports: list[Report], as_json: bool) -> None:
    """The roll-ups as they stand in the database, and commands that work on it from now on."""
    tables = {name: _rows(connection, name) for name in ("user_monthly", "cluster_monthly", "rejects")}
    commands = _commands(directory, _rows(connection, "override_month")[0]["month"])
    if as_json:
        runs = [show.report_object(report) for report in reports]
        print(show.as_object({"directory": str(directory), "runs": runs, **tables, "next": commands}))
        return
    out = show.console()
    for name, rows in tables.items():
        out.print(f"\nrollup.{name}" + (" (dearest first)" if "monthly" in name else ""), style="bold")
        out.print(_table(rows))
    out.print("\nTry next:", style="bold")
    for command in commands:
        out.print(f"  {command}", markup=False, soft_wrap=True)


def _rows(connection: Connection, name: str) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        text = resources.files("jobs.demo").joinpath("sql", f"{name}.sql").read_text("utf-8")
        return cursor.execute(sql.SQL(text)).fetchall()


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name, justify="right" if isinstance(rows[0][name], Decimal | int) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(show.escaped("" if value is None else str(value)) for value in row.values()))
    return table


def _commands(directory: Path, month: str) -> list[str]:
    config = f"--config {shlex.quote(str(directory / 'settings.toml'))}"
    commands = [f"usage-jobs {name} {config}" for name in ("reconcile", "check", "runs", "run")]
    for user in ("auth0|demo-override", "auth0|demo-prepaid", "auth0|demo-tiers"):
        commands.insert(0, f"usage-jobs explain --user '{user}' --month {month} {config}")
    return commands

"""Runs usage-jobs in this process or in another, and looks at what it left in a database."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from server_day import server_day
from ways import connected, job_url, left, owner_url

from jobs.cli import main
from jobs.cli.arguments import COMMANDS, build_parser
from jobs.cli.command import Command
from jobs.domain.billing_periods import first_of, previous_month
from jobs.domain.errors import ConfigError
from jobs.postgres import errors
from jobs.settings import Settings, load
from jobs.settings.database_url import address

TODAY = date(2026, 6, 21)
DAY = date(2026, 6, 20)
"""Yesterday: the last day of a run that names none."""
CLUSTER = UUID(int=0xC1)
REQUIRED = {"user": "ada", "month": "2026-06", "since": "2026-06-01", "until": "2026-06-02"}
"""Values of options that a command requires."""
NOT_HERE = {"schedule": "does not end", "reopen": "needs a closed month", "statement": "needs a file with --json"}
NOT_HERE |= dict.fromkeys(("demo", "schema", "init", "help"), "needs no database")


def _shortest(command: Command) -> tuple[str, ...]:
    """The command with the options that it requires, and no other."""
    parser = argparse.ArgumentParser()
    for add_option in command.options:
        add_option(parser)
    required = [action for action in parser._actions if action.required]
    return (command.name, *(word for each in required for word in (each.option_strings[0], REQUIRED[each.dest])))


EVERY_COMMAND: tuple[tuple[str, ...], ...] = (
    *(_shortest(each) for each in COMMANDS if each.name not in NOT_HERE),
    *(("run", "--dry-run"), ("schema", "--apply")),
)
"""Each that needs the database, ends by itself, and takes --json without a file."""
HEADER = "meter,effective_from,tier_from,price,per,reference\n"
RATES = HEADER + (
    "cpu_hours,2020-01-01,0,0.10,1,list\n"
    "gpu_hours,2020-01-01,0,0.50,1,list\n"
    "storage_gb,2020-01-01,0,0.30,1,list\n"
    "feature_store_api_calls,2020-01-01,0,0.10,1000,list\n"
    "model_inference_calls,2020-01-01,0,1.00,1000,list\n"
)


@dataclass(frozen=True)
class Ran:
    """A command that has ended: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        """The one JSON object that --json leaves on standard output; amounts are texts."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


BILLING = ("run", "backfill", "schedule")
COMPUTING = (*BILLING, "check", "reconcile", "watch", "explain", "statement")
"""Commands that price usage: `start` is also the first day that is drawn from credits."""
SHIPPED_LIMIT: Decimal = Settings.model_fields["max_change_amount"].default
parser = cache(build_parser)
"""A process makes it once, and so does this one, which has thousands of commands: it takes 20 ms."""
_starts: dict[str, date] = {}
"""By database, the month from which its first run billed."""


def start_of(url: str, day: date) -> date:
    """The month from which to bill: before that of ``day``, if nothing has been billed in this database, nor in the one
    whose copy it is: copies are named after it."""
    name = _database(url)
    parts = name.split("_")
    names = ("_".join(parts[:number]) for number in range(len(parts), 0, -1))
    return _starts.setdefault(name, next((_starts[n] for n in names if n in _starts), previous_month(first_of(day))))


def _database(url: str) -> str:
    """Its name, whatever way leads there and however its password is written; every server has a postgres, so that this
    and a text that is no address are each a database of their own."""
    try:
        name = urlsplit(address({"DATABASE_URL": url}) or "").path[1:]
    except (ConfigError, ValueError):
        return url
    return name if name not in ("", "postgres") else url


def said(settings: Settings, url: str, day: date) -> dict[str, str]:
    """The variables of start and rates that ``settings`` lack, as a first run of a database needs them, and of the
    limit of the change check."""
    missing = {} if settings.start else {"USAGE_JOBS_START": str(start_of(url, day))}
    missing["USAGE_JOBS_MAX_CHANGE_AMOUNT"] = str(_most_changed(settings))
    return missing if settings.is_rates_set else {**missing, "USAGE_JOBS_RATES": str(settings.rates)}


def _most_changed(settings: Settings) -> Decimal:
    """The change check has tests of its own: elsewhere covered days change by what a test changes."""
    return Decimal(10**12) if settings.max_change_amount == SHIPPED_LIMIT else settings.max_change_amount


def explicit(settings: Settings, url: str, day: date) -> Settings:
    """The same said in ``settings``."""
    start, limit = settings.start or start_of(url, day), _most_changed(settings)
    return settings.model_copy(update={"start": start, "is_rates_set": True, "max_change_amount": limit})


def _saying(
    arguments: Sequence[str], given: Mapping[str, str], machine: Mapping[str, str], today: date
) -> dict[str, str]:
    """The variables that make start and rates explicit for a command that computes; none where settings are wrong."""
    if not arguments or arguments[0] not in COMPUTING:
        return {}
    try:
        settings = _settings(arguments, {**machine, **given})
        day = date.fromisoformat(arguments[arguments.index("--date") + 1]) if "--date" in arguments else None
    except (ConfigError, ValueError):
        return {}
    url = given.get("DATABASE_URL") or settings.address or ""
    known = bool(settings.start) or _database(url) in _starts
    made = said(settings, url, day or today - timedelta(days=1))
    if not known and (arguments[0] not in BILLING or "--dry-run" in arguments):
        del _starts[_database(url)]  # nothing is billed yet
    return made


def _settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    config = arguments[arguments.index("--config") + 1] if "--config" in arguments else None
    return load(Path(config) if config else None, environment, Path.cwd())


def usage_jobs(*arguments: str, url: str | None = None, today: date = TODAY, **environment: str) -> Ran:
    """The command, in this process, on a server whose clock says ``today``, with start and rates said."""
    given = environment | ({"DATABASE_URL": url} if url else {})
    return _in_this_process(arguments, mapped(arguments, given, os.environ, today), today)


def usage_jobs_unsaid(*arguments: str, url: str, **environment: str) -> Ran:
    """The same without start and rates, as long as ``environment`` does not name them."""
    given = environment | {"DATABASE_URL": url}
    return _in_this_process(arguments, mapped(arguments, given, os.environ, None), TODAY)


def _in_this_process(arguments: Sequence[str], variables: Mapping[str, str], today: date) -> Ran:
    out, err = StringIO(), StringIO()
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            server_day(today),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr(main, "build_parser", parser)
            for name, value in variables.items():
                patch.setenv(name, value)
            code = main.main(list(arguments))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        signal.signal(signal.SIGTERM, terminated)
    return Ran(code, out.getvalue(), err.getvalue())


def mapped(
    arguments: Sequence[str], given: Mapping[str, str], machine: Mapping[str, str], today: date | None = TODAY
) -> dict[str, str]:
    """The variables ``given`` to a command beside the machine's own, its database by the way that is being tested, and
    with start and rates said (``today`` None: without)."""
    made = {**(_saying(arguments, given, machine, today) if today else {}), **given}
    if "DATABASE_URL" not in given:
        return made
    url = given["DATABASE_URL"]

    def settings() -> Settings:
        return _settings(arguments, {**machine, **made})

    return {**made, "DATABASE_URL": owner_url(url) if "schema" in arguments else job_url(url, settings)}


def pausing(patch: pytest.MonkeyPatch, pause: Callable[[float], None]) -> None:
    """What the job does instead of resting between two tries, in this process."""
    patch.setattr(errors.retry, "__kwdefaults__", {**(errors.retry.__kwdefaults__ or {}), "pause": pause})


def usage_jobs_process(*arguments: str, **environment: str) -> Ran:
    """The command, in a process of its own, on the machine's clock, with nothing but ``environment``."""
    start = "import sys; from jobs.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", start, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", **mapped(arguments, environment, {}, datetime.now(UTC).date())},
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def configured(directory: Path, *, settings: str = "", rates: str = RATES) -> None:
    """Settings and rates where a command looks that is started in ``directory``."""
    folder = directory / "config"
    folder.mkdir(exist_ok=True)
    (folder / "settings.toml").write_text(settings, encoding="utf-8")
    (folder / "rates.csv").write_text(rates, encoding="utf-8")


def applied(url: str) -> str:
    """``url``, once the job's own tables are there."""
    made = usage_jobs("schema", "--apply", url=url)
    assert made.code == 0, made.err
    return url


def ask(url: str, query: str, *values: object) -> list[dict[str, Any]]:
    """The rows of a query (or of a statement that returns some), committed."""
    with connected(url) as connection:
        cursor = connection.cursor(row_factory=dict_row).execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def insert(url: str, table: str, **columns: object) -> None:
    with connected(url) as connection:
        _insert(connection, table, columns)


def _insert(connection: psycopg.Connection, table: str, columns: Mapping[str, object]) -> None:
    text = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(sql.Placeholder() * len(columns)),
    )
    connection.execute(text, list(columns.values()))


def add_row(url: str, **columns: object) -> UUID:
    """A row of usage_daily, of user "ada" on DAY unless ``columns`` say otherwise; its id.

    Its user and cluster are put into their tables too, as shape B demands.
    """
    row = {"id": uuid4(), "user_id": "ada", "date": DAY} | columns
    with connected(url) as connection:
        users = "INSERT INTO users (id) SELECT %s::text WHERE %s::text IS NOT NULL ON CONFLICT DO NOTHING"
        connection.execute(users, [row["user_id"]] * 2)
        clusters = "INSERT INTO hopsworks_clusters (id, name) SELECT %s::uuid, 'eu' WHERE %s::uuid IS NOT NULL"
        connection.execute(clusters + " ON CONFLICT DO NOTHING", [row.get("hopsworks_cluster_id")] * 2)
        _insert(connection, "usage_daily", row)
    return UUID(str(row["id"]))


def add_usage(url: str, **columns: object) -> UUID:
    """An ``add_row`` with an hour of cpu."""
    return add_row(url, **{"cpu_hours": 1} | columns)


def costs(url: str) -> dict[str, Decimal]:
    """total_cost by user, summed over the months of the roll-up."""
    found = ask(url, "SELECT user_id, sum(total_cost) AS cost FROM rollup.user_monthly GROUP BY 1")
    return {row["user_id"]: row["cost"] for row in found}


def contents(url: str, *, but: Sequence[str] = ()) -> dict[str, list[str]]:
    """Every row of every table of public and rollup, as text; ``but`` leaves tables out."""
    text = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'rollup')"
    with connected(url) as connection:
        names = [name for (name,) in connection.execute(text) if name not in but]
        rows = (connection.execute(f"SELECT t::text FROM {name} AS t ORDER BY 1".encode()) for name in names)
        return {name: [row for (row,) in found] for name, found in zip(names, rows, strict=True)}


def written(url: str) -> Mapping[str, tuple[int, int, int]]:
    """Rows ever inserted, updated and deleted by table, once every other connection has reported its own."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    text = (
        "SELECT schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables "
        "WHERE schemaname IN ('public', 'rollup')"
    )
    left(url)
    with psycopg.connect(url, autocommit=True) as connection:
        # A backend leaves this view after its counts are in, which may be after its client has left.
        while connection.execute(others).fetchone() != (0,):
            pass
        return {name: (ins, upd, gone) for name, ins, upd, gone in connection.execute(text)}

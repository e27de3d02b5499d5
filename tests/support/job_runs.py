"""Runs the job in this process on a database of the suite, and copies such a database."""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import ways
from commands import explicit
from conftest import Databases
from psycopg import sql
from psycopg.rows import dict_row
from server_day import server_day
from shrinking import perform_anyway
from ways import job_url, owner_url

from jobs.audit.reconcile import reconcile
from jobs.domain.backfill_request import Backfill
from jobs.domain.run_report import Report
from jobs.pipeline.run_request import RunRequest
from jobs.postgres.conninfo import Address
from jobs.postgres.schema_script import apply_schema
from jobs.settings import Settings
from jobs.settings import load as load_settings

_numbers = count(1)


@dataclass
class Runner:
    """The job under the settings of a file and an environment; ``last`` is the furthest day that it was asked for."""

    config: Path
    env: dict[str, str] = field(default_factory=dict)
    last: date | None = None

    def settings(self) -> Settings:
        return load_settings(self.config, self.env, self.config.parent)

    def apply_schema(self, url: str) -> None:
        """Makes the job's own tables."""
        apply_schema(self.settings(), Address(owner_url(url)))

    def run(
        self,
        url: str,
        day: date,
        *,
        full: bool = False,
        dry_run: bool = False,
        trust_ledger: Collection[str] = (),
        adopt: Collection[str] = (),
    ) -> Report:
        """The nightly run of a day. The shrink check has tests of its own: here a month may lose all its rows."""
        self.last = max(day, self.last or day)
        given: dict[str, Any] = {"full": full, "dry_run": dry_run, "trust_ledger": trust_ledger, "adopt": adopt}
        return self._perform(url, day=day, **given)

    def backfill(self, url: str, since: date, until: date, adopt: Collection[str] = ()) -> Report:
        return self._perform(url, backfill=Backfill(since, until, "as generated"), adopt=adopt)

    def broken_invariants(self, url: str) -> list[Any]:
        """What `usage-jobs reconcile` finds broken."""
        settings = explicit(self.settings(), url, self.today)
        address = Address(job_url(url, lambda: settings))
        with self.on_its_day():
            return [one for one in reconcile(settings, address, None, None) if one.broken]

    @property
    def today(self) -> date:
        assert self.last is not None
        return self.last + timedelta(days=1)

    def on_its_day(self) -> AbstractContextManager[None]:
        """The server's clock shows the day after the furthest one."""
        return server_day(self.today)

    def _perform(self, url: str, **asked: Any) -> Report:
        assert self.last is not None
        settings = explicit(self.settings(), url, self.last)
        address = Address(job_url(url, lambda: settings))
        with self.on_its_day():
            return perform_anyway(RunRequest(settings, address, **asked))


def copied(databases: Databases, url: str) -> str:
    """The URL of a copy of a database that nobody is connected to; whoever asks for it retires it."""
    ways.left(url)
    name = f"{urlsplit(url).path[1:]}_copy_{next(_numbers)}"
    text = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(databases.url, autocommit=True) as link:
        link.execute(text.format(sql.Identifier(name), sql.Identifier(urlsplit(url).path[1:])))
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def rows_by_key(url: str, table: str, *key: str) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """Every row of a table of the job by its key."""
    query = sql.SQL("SELECT * FROM rollup.{}").format(sql.Identifier(table))
    with psycopg.connect(url, row_factory=dict_row) as link:
        return {tuple(row[name] for name in key): row for row in link.execute(query)}


def differences(expected: Mapping[str, list[str]], found: Mapping[str, list[str]]) -> dict[str, tuple[set[str], ...]]:
    """By part of an outcome: what was expected and is not there, and what is there and was not expected."""
    return {
        name: (set(rows) - set(found[name]), set(found[name]) - set(rows))
        for name, rows in expected.items()
        if rows != found[name]
    }

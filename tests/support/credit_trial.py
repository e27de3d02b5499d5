"""One generated history: a real database, what other programs did to it, and the oracle beside each run."""

from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from commands import explicit, start_of, usage_jobs
from conftest import Databases
from credit_cases import Setup, previous
from credit_checks import Link, agree, closed_totals, corrected, everything, hold
from fresh_start import forget_open_months, outcome
from job_runs import copied, differences
from oracle import Options, RunRefusedError, month_of, next_month
from server_day import server_day
from shrinking import perform_anyway
from ways import job_url, owner_url
from worlds import write_config

from jobs.domain.backfill_request import Backfill
from jobs.domain.errors import ConfigError
from jobs.domain.run_report import Report
from jobs.pipeline.run_request import RunRequest
from jobs.postgres.conninfo import Address
from jobs.postgres.schema_script import apply_schema
from jobs.settings import load as load_settings


class CreditTrial:
    """Databases are made when they are first needed: a history without a run costs nothing."""

    def __init__(self, databases: Databases, folder: Path, setup: Setup, *, reconcile: bool) -> None:
        self.databases, self.folder, self.setup, self.reconcile = databases, folder, setup, reconcile
        self.others, self.options = setup.others, setup.options
        self.config: Path | None = None
        self.urls: list[str] = []
        self.links: list[Link] = []
        self.latest = date.min
        """The furthest day that was asked for: no clock goes back behind it."""
        self.sound = True
        """No check has failed: only then is there a point in comparing with a fresh database."""

    # The database and the command

    def configure(self, options: Options) -> None:
        """Other settings or prices from the next run on."""
        self.options, self.config = options, None

    def create(self) -> str:
        url = self.databases.create(self.setup.shape.lower())
        self.urls.append(url)
        self.links.append(psycopg.connect(url, autocommit=True))
        if not self.setup.counts_free:
            self.links[-1].execute("ALTER TABLE user_credits DROP COLUMN free_credits_used")
        apply_schema(load_settings(self.written(), self.setup.env, self.folder), Address(owner_url(url)))
        return url

    def written(self) -> Path:
        if self.config is None:
            self.config = write_config(self.folder, self.options)
        return self.config

    @property
    def url(self) -> str:
        return self.urls[0] if self.urls else self.create()

    @property
    def link(self) -> Link:
        """A connection to the database as other programs have left it."""
        assert self.url
        self.others.flush(self.links[0])
        return self.links[0]

    def job(self, url: str, day: date, *, dry_run: bool = False, backfill: Backfill | None = None) -> Report:
        if self.options.start is None:
            # Said once, for the oracle and a fresh database as well: it is the first day that is drawn from credits.
            self.configure(replace(self.options, start=start_of(url, day)))
        made = explicit(load_settings(self.written(), self.setup.env, self.folder), url, day)
        asked = None if backfill else day
        address = Address(job_url(url, lambda: made))
        # The brake has tests of its own; here a month may lose all its rows.
        self.latest = max(day, self.latest)
        with server_day(self.latest + timedelta(days=1)):
            return perform_anyway(RunRequest(made, address, day=asked, backfill=backfill, dry_run=dry_run))

    # Nights

    def next_day(self, days: int) -> date:
        """So many days after the last one covered; before the first run, after the first month."""
        book = self.others.credits.book
        return (book.last_day or next_month(self.setup.season)) + timedelta(days=days)

    def last_day(self) -> date:
        """The last day covered, or the first after the months that are closed."""
        book = self.others.credits.book
        day = self.next_day(0)
        while (month := book.months.get(month_of(day))) is not None and month.closed:
            day = next_month(month_of(day))
        return day

    def closing_day(self, days: int) -> date:
        """So many days after the oldest open month, which closes about then."""
        book = self.others.credits.book
        month = month_of(self.last_day())
        while book.months.get(previous(month)) and not book.months[previous(month)].closed:
            month = previous(month)
        return next_month(month) + timedelta(days=days)

    def refused(self, day: date) -> bool:
        """Whether the day lies in a closed month; then nothing happens."""
        assert self.link
        try:
            self.others.credits.book.window(self.options, day)
        except RunRefusedError:
            with pytest.raises(ConfigError):
                self.job(self.url, day)
            return True
        return False

    def night(self, day: date) -> Report | None:
        """One run beside the oracle, and the same again, which changes nothing."""
        self.sound = False
        report = None
        if not self.refused(day):
            report = self.job(self.url, day)
            self.expect(day)
            if not report.closed:
                again = self.job(self.url, day)
                assert again.rows_changed == 0, again.changed
            self.reconciled()
        self.sound = True
        return report

    def expect(self, day: date, backfill: Backfill | None = None) -> None:
        others = self.others
        if backfill is None:
            others.credits.run(others.facts, self.options, day)
        else:
            others.credits.backfill(others.facts, self.options, backfill.since, backfill.until, day)
        for row in others.credits.book.written(others.world).rows:
            others.rows[row.id] = row
        agree(self.link, others)
        hold(self.link, others)

    def backfill(self, since: date, until: date) -> None:
        """A backfill as `--dry-run` has it, then as it is, then once more, which changes nothing.

        On a clock that says what the last run made of it, so that no day becomes covered but of open months.
        """
        self.sound = False
        yesterday = max(until, self.others.credits.book.last_day or until)
        asked = Backfill(since, until, "as generated")
        before, url = everything(self.link), self.url
        totals = closed_totals(self.link)
        promised = self.job(url, yesterday, dry_run=True, backfill=asked)
        assert everything(self.link) == before
        assert promised.plan is not None
        kept = self.job(url, yesterday, backfill=replace(asked, plan=promised.plan.hash))
        assert dict(kept.changed) == dict(promised.changed)
        assert kept.plan is not None
        assert replace(kept.plan, months=()) == replace(promised.plan, months=())
        self.expect(yesterday, asked)
        corrected(self.link, kept, totals)
        again = self.job(url, yesterday, backfill=asked)
        if not kept.closed:
            assert again.rows_changed == 0, again.changed
        self.reconciled()
        self.sound = True

    def reconciled(self) -> None:
        if self.reconcile:
            arguments = ("reconcile", "--json", "--config", str(self.written()))
            ran = usage_jobs(*arguments, url=self.url, today=self.latest + timedelta(days=1), **self.setup.env)
            # Of an open month that this step has not computed usage may have vanished.
            broken = [law for law in ran.object["laws"] if law["broken"] and not law["law"].startswith("8 ")]
            assert not broken, broken

    def rehearsal(self, day: date) -> None:
        """A dry run writes nothing at all, and says what the run right after it does."""
        self.sound = False
        if not self.refused(day):
            before = everything(self.link)
            promised = self.job(self.url, day, dry_run=True)
            assert everything(self.link) == before
            kept = self.night(day)
            assert kept is not None
            assert dict(kept.changed) == dict(promised.changed)
        self.sound = True

    # The end

    def finish(self) -> None:
        """One more run comes to what it comes to in a copy in which all that runs made of open months is undone.

        It covers every day that another program has drawn on: what is drawn of later ones is nobody's to decide yet.
        """
        if not self.sound or self.others.credits.book.last_day is None:
            return
        ahead = [draw.day for draw in self.others.credits.ledger if draw.revision == 0]
        day = max([self.last_day(), *ahead])
        self.link.close()
        copy = copied(self.databases, self.url)
        self.urls.append(copy)
        self.links[0] = psycopg.connect(self.url, autocommit=True)
        report = self.night(day)
        assert report is not None
        first, last = report.window_from, report.window_to
        forget_open_months(copy, first, last)
        self.job(copy, day)
        assert not differences(outcome(copy, first, last), outcome(self.url, first, last))

    def close(self) -> None:
        for link in self.links:
            with suppress(psycopg.Error):
                link.close()
        self.databases.retire(self.urls)

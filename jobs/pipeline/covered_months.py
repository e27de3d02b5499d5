"""Months that runs have covered, as the commands that only read see them."""

from dataclasses import dataclass
from datetime import date, timedelta

from jobs.domain.billing_periods import History, Window, first_open_month, is_closed, last_of
from jobs.domain.errors import ConfigError
from jobs.pipeline.planning import make_window_scope
from jobs.postgres import preflight, run_log, server_clock
from jobs.postgres.connections import Connection
from jobs.postgres.run_log import MonthRecords
from jobs.postgres.run_scope import RunScope
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class CoveredMonths:
    """The rows of rollup.months, and earlier runs, as of ``today`` by the server's clock."""

    settings: Settings
    today: date
    history: History
    records: MonthRecords

    def is_closed(self, month: date) -> bool:
        """Whether only a backfill may rate ``month`` again."""
        return is_closed(month, self.history, first_open_month(self.history, self.settings.start, self.today))

    def last_day(self, month: date) -> date:
        """Returns the last covered day of ``month``. Raises ConfigError if no run has covered a day of it."""
        furthest = self.history.furthest
        last = min(last_of(month), furthest or month - timedelta(days=1))
        if last < month or month not in self.records.modes:
            found = "none has been done" if furthest is None else f"the last covered day is {furthest}"
            raise ConfigError(f"--month {month:%Y-%m}: expected a month of which a run has covered a day; {found}")
        return last

    def currency(self, month: date) -> str:
        """Returns the currency of a covered month."""
        return self.records.currencies[month] or self.settings.currency


def read_covered_months(connection: Connection, settings: Settings) -> CoveredMonths:
    """Returns the months that runs have covered."""
    today = server_clock.today(connection)
    return CoveredMonths(settings, today, *run_log.read_history(connection, settings, today))


def open_month(connection: Connection, months: CoveredMonths, month: date) -> RunScope:
    """Returns the scope of ``month``, up to the last covered day. Needs an open transaction, best with a snapshot.

    Raises PreflightError where the database cannot be read; ConfigError if no run has covered a day of the month.
    """
    source, findings = preflight.inspect_source(connection, months.settings)
    preflight.refuse_findings(findings, purpose="read")
    window = Window((month,), months.last_day(month), frozenset())
    return make_window_scope(connection, months.settings, source, window, months.records)

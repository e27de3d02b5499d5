"""Histories: small generated databases, edits by other programs, and runs of the job beside them, drawn by Hypothesis.

Half of the histories are of each shape; a number makes the same history again.
"""

import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import ClassVar

import psycopg
from commands import explicit
from conftest import Databases
from counts import count
from fresh_start import closed_months
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from job_runs import Runner
from money_law import Look, check, look
from oracle import month_of, next_month
from other_programs import OtherPrograms, peopled
from ways import READERS
from worlds import Case, cases, load, write_config

from jobs.domain.run_report import Report

SEED = int(os.environ.get("HISTORY_SEED", "0"))
SHARES = 4
"""Into how many tests the histories are divided: workers of pytest-xdist take one each."""
ONE_HISTORY = settings(
    # The first example is always the simplest one: it makes no database, and one history a seed is left.
    max_examples=2,
    deadline=None,
    derandomize=False,
    database=None,
    print_blob=False,
    # Shrinking a whole database history takes minutes and says little more: the number reproduces a failure.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass
class History:
    """A generated database and the job at work on it; ``furthest`` is the last day that a run has covered."""

    databases: Databases
    case: Case
    folder: Path
    data: st.DataObject
    urls: list[str] = field(default_factory=list)
    furthest: date | None = None
    closing: ClassVar[tuple[int, ...]] = (40, 40, 3, 10, 0)
    """close_after_days: mostly two or three months are open beside one another."""

    def begin(self) -> None:
        case, draw = self.case, self.data.draw
        self.url = self.databases.create(case.shape.lower())
        self.urls.append(self.url)
        with psycopg.connect(self.url) as link:
            load(link, case.world, case.shape)
            peopled(link, case.world, draw, case)
            if case.shape == "B" and draw(st.integers(0, 3)) == 2:
                link.execute("ALTER TABLE user_credits DROP COLUMN free_credits_used")
        self.programs = OtherPrograms(case, self.url, case.options, self._env(), draw)
        for _ in range(6):
            self.programs.make("insert_rows")
        self.runner = Runner(self.folder / "settings.toml", self.programs.env)
        self._configure()
        self.runner.apply_schema(self.url)

    def play(self) -> None:
        """All that happens after the beginning."""
        raise NotImplementedError

    def edits(self) -> None:
        for _ in range(self.data.draw(st.integers(1, 6), label="edits")):
            self.programs.edit()
        self._configure()

    def next_day(self) -> date:
        """A day after the furthest one, the same, or one shortly before, in an open month."""
        assert self.furthest is not None
        day = self.furthest + timedelta(days=self.data.draw(st.sampled_from([1, 1, 0, 2, 5, 10, 31, -3]), label="days"))
        while month_of(day) in closed_months(self.url):
            day = next_month(day)
        return day

    def look(self, day: date) -> Look:
        """What the database holds of money before or after a step of that day."""
        start = explicit(self.runner.settings(), self.url, day).first_drawn
        assert start is not None
        return look(self.url, start)

    def watched(self, day: date, run: Callable[[], Report | None], adopted: Collection[str] = ()) -> Report | None:
        """Does a step of that day that may move money, and asks the law of it."""
        before = self.look(day)
        report = run()
        self.seen = self.look(day)
        check(before, self.seen, report, adopted)
        return report

    def run(self, day: date, trust_ledger: Collection[str] = (), adopt: Collection[str] = ()) -> Report:
        report = self.watched(
            day, lambda: self.runner.run(self.url, day, trust_ledger=trust_ledger, adopt=adopt), adopt
        )
        assert report is not None
        self.furthest = max(report.window_to, self.furthest or day)
        return report

    def night(self, day: date, trust_ledger: Collection[str] = (), adopt: Collection[str] = ()) -> Report:
        """A run that sets nobody aside."""
        report = self.run(day, trust_ledger, adopt)
        assert not report.users_set_aside, report.notes
        self.window = (report.window_from, report.window_to)
        return report

    def night_and_again(self, day: date) -> Report:
        """A night, and the same at once again: nobody is computed, nothing is read and nothing is written."""
        report = self.night(day)
        # Of a month that has closed a run is refused; once it has closed, what is left to others is looked at anew.
        if month_of(day) not in closed_months(self.url):
            again = self.runner.run(self.url, day)
            assert again.rows_changed == 0, dict(again.changed)
            if not report.closed:
                assert (again.users_recomputed, again.rows_read) == (0, 0)
                assert again.rows_rejected == report.rows_rejected
        return report

    def backfill(self) -> None:
        """Of one of the months up to the furthest day, closed ones among them, or before the first."""
        assert self.furthest is not None
        months = [month_of(self.furthest)]
        while months[0] >= self.case.season:
            months.insert(0, month_of(months[0] - timedelta(days=1)))
        since = self.data.draw(st.sampled_from(months), label="backfill")
        until = min(self.furthest, next_month(since) - timedelta(days=1))
        report = self.watched(until, lambda: self.runner.backfill(self.url, since, until))
        assert report is not None
        if not report.closed:
            again = self.runner.backfill(self.url, since, until)
            assert again.rows_changed == 0, dict(again.changed)

    def _env(self) -> dict[str, str]:
        """How the work is divided, who reads, and what the change check lets pass: no result depends on it."""
        draw = self.data.draw
        # Each change of covered days needs its token, or none does.
        limit = "0" if self.case.shape == "A" else "1000000000000"
        return {
            "USAGE_JOBS_BATCH_ROWS": str(draw(st.sampled_from([1_000_000] * 5 + [7]))),
            "USAGE_JOBS_BATCH_WRITES": str(draw(st.sampled_from([1_000_000] * 4 + [5]))),
            "USAGE_JOBS_READER": draw(st.sampled_from(("auto", *READERS))),
            "USAGE_JOBS_MAX_CHANGE": "0",
            "USAGE_JOBS_MAX_CHANGE_AMOUNT": limit,
        }

    def _configure(self) -> None:
        """The settings and prices that other programs have left."""
        self.runner.config = write_config(self.folder, self.programs.options)


@contextmanager
def begun(databases: Databases, case: Case, data: st.DataObject, kind: type[History]) -> Iterator[History]:
    with tempfile.TemporaryDirectory() as folder:
        history = kind(databases, case, Path(folder), data)
        try:
            history.begin()
            yield history
        finally:
            databases.retire(history.urls)


def play(databases: Databases, number: int, kind: type[History]) -> None:
    """The history of that number."""

    @seed(number)
    @ONE_HISTORY
    @given(data=st.data())
    def history(data: st.DataObject) -> None:
        if data.draw(st.integers(0, 2**32), label="not the simplest example") == 0:
            return
        case = data.draw(cases("A" if number % 2 == 0 else "B", max_rows=20), label="case")
        closing = data.draw(st.sampled_from(kind.closing), label="close_after_days")
        case = replace(case, options=replace(case.options, close_after_days=closing))
        with begun(databases, case, data, kind) as made:
            made.play()

    history()


def play_share(databases: Databases, kind: type[History], counted: str, share: int) -> None:
    """Every SHARES-th history of those that ``counted`` names the number of."""
    for number in range(SEED + share, SEED + count(counted), SHARES):
        try:
            play(databases, number, kind)
        except BaseException as error:
            error.add_note(f"history {number}: HISTORY_SEED={number} {counted}=1 plays it again")
            raise

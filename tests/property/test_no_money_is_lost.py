"""No history takes money twice, or forgives any in silence (support.money_law), whatever else is done to the databases:
dumps of either side are restored, clocks jump, a second deployment comes, debts are paid or written off, months are
opened again, and rows come from closed months.

MONEY_HISTORIES histories are played, half of each shape, from HISTORY_SEED on: one is played again by
HISTORY_SEED=its number with MONEY_HISTORIES=1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import ClassVar
from unittest.mock import patch

import psycopg
import pytest
from commands import explicit
from conftest import Databases
from credit_checks import everything
from fresh_start import closed_months
from histories import SHARES, History, play_share
from hypothesis import strategies as st
from money_law import used
from oracle import month_of, next_month
from other_programs import first_day
from restoring import APPLICATION, copy, restore, tables_of
from ways import job_url

from jobs.domain.errors import UsageJobsError
from jobs.pipeline import manual_changes, run
from jobs.postgres import server_clock
from jobs.postgres.conninfo import Address
from jobs.settings import Settings

YEAR = timedelta(days=365)
SECOND = {"USAGE_JOBS_SCHEMA": "other"}
STEPS = {
    "usual_night": 3,
    "backfill": 2,
    "overwritten": 1,
    "late_credit": 3,
    "write_off": 2,
    "reopen": 2,
    "row_from_a_closed_month": 2,
    "end_of_overrides": 1,
    "gap": 1,
    "older_ledger": 2,
    "older_application": 2,
    "host_ahead": 1,
    "server_ahead": 1,
    "second_deployment": 1,
    "twin": 1,
}
"""Steps by the names of the methods, and how often each is drawn beside the others."""


@dataclass
class Money(History):
    """A history with all that may happen to money. ``over``: what has happened has no remedy but by hand."""

    over: bool = False
    closing: ClassVar[tuple[int, ...]] = (3, 3, 0, 10, 40)

    def play(self) -> None:
        draw = self.data.draw
        self.night(first_day(self.case, draw))
        steps = [name for name, times in STEPS.items() for _ in range(times)]
        for _ in range(draw(st.integers(3, 6), label="steps")):
            if not self.over:
                getattr(self, draw(st.sampled_from(steps), label="next"))()

    def begin(self) -> None:
        """Most users have an account and pay from it."""
        super().begin()
        with psycopg.connect(self.url) as link:
            link.execute("UPDATE users SET billing_mode = 'prepaid' WHERE billing_mode IS NULL")
        for _ in range(2):
            self.programs.make("open_account")

    def edits(self) -> None:
        """Of the last months, and there is always usage that is new."""
        assert self.furthest is not None
        season = month_of(month_of(self.furthest) - timedelta(days=1))
        self.programs.case = replace(self.case, season=max(season, self.case.season))
        self.programs.make("insert_rows")
        super().edits()

    def usual_night(self) -> None:
        self.edits()
        self.night_and_again(self.next_day())

    def overwritten(self) -> None:
        """By itself: a row that is spoiled as well is no longer ours to put right."""
        self.programs.overwrite_deducted(*self.window)
        self.night(self.next_day(), trust_ledger=self.programs.users())

    # Closed months

    def close(self) -> None:
        """A night that closes what is open of the season's earlier months."""
        assert self.furthest is not None
        self.edits()
        self.night(next_month(month_of(self.furthest)) + timedelta(days=self.case.options.close_after_days))

    def late_credit(self) -> None:
        """Twice: what is settled once is not drawn again."""
        self.close()
        for _ in range(2):
            self.programs.make("buy_for_a_debtor")
            self.night(self.next_day())

    def write_off(self) -> None:
        self.close()
        for user in sorted(self.programs.debtors())[: self.data.draw(st.integers(1, 2))]:
            self.by_hand(partial(manual_changes.write_off, user=user, reason="x"))
        self.programs.make("buy_for_a_debtor")
        getattr(self, self.data.draw(st.sampled_from(["usual_night", "reopen", "backfill"])))()

    def reopen(self) -> None:
        if closed := closed_months(self.url):
            self.by_hand(partial(manual_changes.reopen, month=max(closed), reason="x"))
        self.usual_night()

    def by_hand(self, change: Callable[[Settings, Address], object]) -> None:
        assert self.furthest is not None
        settings = explicit(self.runner.settings(), self.url, self.furthest)

        def changed() -> None:
            with self.runner.on_its_day():
                change(settings, Address(job_url(self.url, lambda: settings)))

        self.watched(self.furthest, changed)

    def row_from_a_closed_month(self) -> None:
        self.close()
        self.programs.make("move_from_a_closed_month")
        self.night(self.next_day())

    def end_of_overrides(self) -> None:
        self.programs.make("end_overrides")
        self.night(self.next_day())

    def gap(self) -> None:
        """No run for days, in which users change how they pay."""
        for _ in range(3):
            self.programs.make("switch_mode")
        self.edits()
        assert self.furthest is not None
        self.night(self.furthest + timedelta(days=self.data.draw(st.integers(4, 20))))

    # Restored dumps

    def older_ledger(self) -> None:
        self.restored(tables_of(self.url, "rollup"))

    def older_application(self) -> None:
        self.restored(APPLICATION)

    def restored(self, tables: Sequence[str]) -> None:
        """A dump is restored some nights later: of our schema, and accounts stay as they are; or of the application,
        and accounts are what they were."""
        copy(self.url, tables)
        before = self.seen.strange
        for _ in range(self.data.draw(st.integers(1, 2), label="nights")):
            self.programs.make("move_credit")
            self.usual_night()
        after = self.seen.strange
        restore(self.url, tables)
        strange, then = before if tables is APPLICATION else after, used(self.url)
        if self.data.draw(st.booleans(), label="edits after"):
            self.programs.make("move_credit" if tables is not APPLICATION else "insert_rows")
        now = used(self.url)
        self.remedied({user: amount + now.get(user, 0) - then.get(user, 0) for user, amount in strange.items()})

    def remedied(self, strange: Mapping[str, Decimal]) -> None:
        """A run sets aside whose rows nothing explains, and moves nothing of them; the next takes over what their rows
        show. Then accounts have used what they have (``strange``) beside the ledger, or `reconcile` names the user."""
        assert self.furthest is not None
        day = self.furthest
        while month_of(day) in closed_months(self.url):
            day = next_month(day)
        report = self.run(day)
        assert report.exit_code == 6 or not report.users_set_aside, report.notes
        if report.users_set_aside:
            report = self.run(day, adopt=sorted(self.seen.aside))
        if report.users_set_aside:
            self.backfill_closed_months(report.notes)
            report = self.run(day)
        assert not report.users_set_aside, report.notes
        self.window = (report.window_from, report.window_to)
        found = self.seen.strange
        wrong = {user: (strange[user], found[user]) for user in strange.keys() & found.keys()
                 if strange[user] != found[user]}  # fmt: skip
        if wrong:
            # What is drawn on rows of closed months no nightly run looks at.
            closed = {each.user_id for each in self.seen.months.values() if each.closed}
            named = " ".join(key for check in self.runner.broken_invariants(self.url) for key in check.broken_keys)
            silent = {user for user in wrong if user not in closed or user not in named}
            assert not silent, (silent, wrong, named)
        # Rows of one user may be wrong by amounts that cancel out.
        if wrong or self.programs.forgotten():
            self.debts_that_were_paid(day)
            self.over = True

    def backfill_closed_months(self, notes: Sequence[str]) -> None:
        """What a run says of whom it cannot adopt."""
        aside = sorted(self.seen.aside)
        assert sum("`backfill` the month with `--adopt" in note for note in notes) == 1, notes
        for month in sorted(closed_months(self.url)):
            last = next_month(month) - timedelta(days=1)
            self.watched(last, partial(self.runner.backfill, self.url, month, last, aside), aside)

    def debts_that_were_paid(self, day: date) -> None:
        """A debt that was paid, as its row shows, is not paid again when credit comes."""
        self.programs.make("buy_for_the_forgotten")
        forgotten = self.programs.forgotten(with_credit=True)
        report = self.run(day)
        assert self.seen.aside >= forgotten, report.notes
        if forgotten:
            report = self.run(day, adopt=sorted(self.seen.aside))
            if report.users_set_aside:
                self.backfill_closed_months(report.notes)
            assert not self.programs.forgotten(with_credit=True)

    # Clocks

    def host_ahead(self) -> None:
        """The host's clock is a year ahead for a night, which does as ever."""
        self.edits()
        day, furthest = self.next_day(), self.furthest
        assert furthest is not None
        with patch.object(server_clock, "_host", lambda: datetime.now(UTC) + YEAR):
            report = self.night(day)
        assert report.window_to == max(day, furthest)

    def server_ahead(self) -> None:
        """The server's clock is a year ahead for a run that is stopped before its first batch."""
        self.edits()
        day, furthest = self.next_day(), self.furthest
        assert furthest is not None
        ahead = replace(self.runner, last=furthest + YEAR)

        def stopped() -> None:
            with patch.object(run._Run, "_recompute", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
                ahead.run(self.url, furthest + YEAR)

        self.watched(day, stopped)
        assert self.night(day).window_to == max(day, furthest)

    # A second deployment

    def second_deployment(self) -> None:
        """It is refused where the first one has drawn, and nothing moves."""
        self.edits()
        day = self.next_day()
        second = replace(self.runner, env={**self.runner.env, **SECOND})
        second.apply_schema(self.url)
        with psycopg.connect(self.url) as link:
            before = everything(link)
            if any(account.paid for account in self.seen.accounts.values()):
                with pytest.raises(UsageJobsError) as refused:
                    second.run(self.url, day)
                assert refused.value.exit_code == 5
            link.rollback()
            assert everything(link) == before
        self.end_second()
        self.night(day)

    def twin(self) -> None:
        """One that had begun before the first one drew: each sets aside whom the other has drawn on."""
        self.edits()
        day = self.next_day()
        before = self.look(day).strange
        second = replace(self.runner, env={**self.runner.env, **SECOND})
        second.apply_schema(self.url)
        with psycopg.connect(self.url) as link:
            link.execute(
                "INSERT INTO other.runs (kind, window_from, window_to, status, credits, version)"
                " VALUES ('run', %s, %s, 'done', 0, '1')", [day, day]
            )  # fmt: skip
        report = second.run(self.url, day)
        assert report.exit_code == 6 or not report.users_set_aside
        self.furthest = max(day, self.furthest or day)
        self.end_second()
        self.remedied(before)

    def end_second(self) -> None:
        with psycopg.connect(self.url) as link:
            link.execute("DROP SCHEMA other CASCADE")


@pytest.mark.database
@pytest.mark.parametrize("share", range(SHARES))
def test_money_is_neither_taken_twice_nor_forgiven(databases: Databases, share: int) -> None:
    play_share(databases, Money, "MONEY_HISTORIES", share)

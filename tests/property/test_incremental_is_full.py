"""Incremental = full: after any history, runs that computed only what had changed have come to what one run that
computes everybody makes of the final facts.

A history is a small generated database, edits by other programs, nights and backfills. Before its last night the
database is copied, and all that runs have made of open months is undone in the copy; there `--full` makes that night.
HISTORIES histories are played, half of each shape, from HISTORY_SEED on: one is played again by HISTORY_SEED=its number
with HISTORIES=1.
"""

from datetime import date

import pytest
from conftest import Databases
from counts import count
from fresh_start import closed_months, forget_open_months, outcome
from histories import SHARES, History, play_share
from hypothesis import strategies as st
from job_runs import copied, differences
from oracle import month_of
from other_programs import first_day

NIGHTS = count("HISTORY_NIGHTS")


class Incremental(History):
    """A history whose last night is compared with a full one."""

    def play(self) -> None:
        """Nights and backfills with edits between them; the last night is compared with a full one."""
        draw = self.data.draw
        self.night(first_day(self.case, draw))
        for _ in range(draw(st.integers(0, NIGHTS - 1), label="nights")):
            how = draw(st.sampled_from(["night"] * 5 + ["backfill"] * 2 + ["foreign write"]), label="next")
            if how == "foreign write":
                # By itself: a row that is spoiled as well is no longer ours to put right.
                self.programs.overwrite_deducted(*self.window)
                self.night(self.next_day(), trust_ledger=self.programs.users())
                continue
            self.edits()
            if how == "backfill":
                self.backfill()
            else:
                self.night(self.next_day())
        self.edits()
        self.last_night(self.next_day())

    def last_night(self, day: date) -> None:
        copy = copied(self.databases, self.url)
        self.urls.append(copy)
        report = self.night_and_again(day)
        first, last = report.window_from, report.window_to
        forget_open_months(copy, first, last)
        self.runner.run(copy, day, full=True)
        assert not differences(outcome(copy, first, last), outcome(self.url, first, last))
        assert not self.runner.broken_invariants(self.url)
        # For a quarter of the histories: the comparison above nearly says it.
        if month_of(day) not in closed_months(self.url) and self.data.draw(st.integers(0, 3), label="full") == 0:
            full = self.runner.run(self.url, day, full=True)
            assert full.rows_changed == 0, repr(dict(full.changed))


@pytest.mark.database
@pytest.mark.parametrize("share", range(SHARES))
def test_incremental_runs_come_to_what_a_full_run_comes_to(databases: Databases, share: int) -> None:
    play_share(databases, Incremental, "HISTORIES", share)

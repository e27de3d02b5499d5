"""The sums of a FOCUS file are those of the tables, whatever other programs have done between nights and backfills.

FOCUS_HISTORIES histories are played, half of each shape, from HISTORY_SEED on: one is played again by HISTORY_SEED=its
number with FOCUS_HISTORIES=1.
"""

from datetime import date, timedelta

import psycopg
import pytest
from commands import explicit
from conftest import Databases
from focus_sums import Line, cell, check_sums, exported, list_costs, read_world, summed
from histories import SHARES, History, play_share
from hypothesis import strategies as st
from oracle import month_of, next_month
from other_programs import first_day
from ways import job_url

from jobs.domain.errors import DataChangedError


class Exported(History):
    """A history whose months are exported after each night."""

    def begin(self) -> None:
        super().begin()
        with psycopg.connect(self.url) as link:
            for user in self.programs.users():
                mode = self.data.draw(st.sampled_from(["prepaid", "prepaid", "postpaid", "free"]), label="mode")
                if self.case.shape == "B" or mode != "free":
                    link.execute("UPDATE users SET billing_mode = %s WHERE id = %s", [mode, user])

    def play(self) -> None:
        draw = self.data.draw
        self.night(first_day(self.case, draw))
        self.look_at_files()
        for _ in range(draw(st.integers(0, 2), label="steps")):
            self.edits()
            if draw(st.booleans(), label="backfill"):
                self.backfill()
            self.night(self.next_day())
            self.look_at_files()

    def look_at_files(self) -> None:
        assert self.furthest is not None
        settings = explicit(self.runner.settings(), self.url, self.furthest)
        address = job_url(self.url, lambda: settings)
        with psycopg.connect(self.url) as link:
            modes: dict[date, str] = dict(link.execute("SELECT month, cost_mode FROM rollup.months").fetchall())
        for month, mode in sorted(modes.items()):
            if month > self.furthest:
                continue
            try:
                with self.runner.on_its_day():
                    lines = exported(settings, address, month)
            except DataChangedError:
                assert month < self.window[0]  # closed, and usage or prices have changed since
                continue
            check_sums(lines, self.url, month, [meter.name for meter in settings.meters])
            self.look_at_list_costs(month, mode, [line for line in lines if line["ChargeCategory"] == "Usage"])

    def look_at_list_costs(self, month: date, mode: str, usage: list[Line]) -> None:
        assert self.furthest is not None
        last = min(self.furthest, next_month(month) - timedelta(days=1))
        world = read_world(self.url, self.case.world.columns)
        found = summed(usage, "ListCost", cell)
        assert found == list_costs(world, self.programs.options, month_of(month), last, mode)


@pytest.mark.database
@pytest.mark.parametrize("share", range(SHARES))
def test_sums_of_a_focus_file_are_those_of_the_tables(databases: Databases, share: int) -> None:
    play_share(databases, Exported, "FOCUS_HISTORIES", share)

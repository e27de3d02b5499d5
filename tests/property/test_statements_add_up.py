"""Statements of generated databases: every table adds up as it is shown, and exactly to what the tables hold.

STATEMENT_HISTORIES histories are played, half of each shape, from HISTORY_SEED on: one is played again by
HISTORY_SEED=its number with STATEMENT_HISTORIES=1.
"""

import json

import pytest
from commands import ask, explicit
from conftest import Databases
from histories import SHARES, History, play_share
from hypothesis import strategies as st
from other_programs import first_day
from statement_page import check_page
from ways import job_url

from jobs.domain.errors import ConfigError
from jobs.postgres.conninfo import Address
from jobs.reports.statement_files import StatementRequest, write_all


class Stated(History):
    """A history whose months are all stated at its end."""

    def play(self) -> None:
        draw = self.data.draw
        self.night(first_day(self.case, draw))
        for _ in range(draw(st.integers(0, 3), label="nights")):
            self.edits()
            if draw(st.integers(0, 3), label="backfill") == 0:
                self.backfill()
            else:
                self.night(self.next_day())
        self.state()

    def state(self) -> None:
        settings = explicit(self.runner.settings(), self.url, self.runner.today)
        address = Address(job_url(self.url, lambda: settings))
        for [month] in (row.values() for row in ask(self.url, "SELECT month FROM rollup.months ORDER BY 1")):
            folder = self.folder / f"{month}"
            folder.mkdir()
            with self.runner.on_its_day():
                try:
                    done = write_all(settings, address, StatementRequest(month, None, folder, "html"))
                except ConfigError as error:
                    assert "expected a month of which a run has covered a day" in str(error)  # noqa: PT017
                    continue
            users = ask(self.url, "SELECT user_id FROM rollup.user_monthly WHERE month = %s", month)
            # A user of whom nothing is stored may have usage in a closed month, which a backfill has not seen.
            assert {each.user for each in done.written} | {*done.refused} >= {row["user_id"] for row in users}
            assert done.is_final or not done.refused
            for each in done.written:
                check_page((folder / each.file).read_text(), self.url, each.user, month)
            listed = json.loads(done.index.read_text())["statements"]
            assert {path.name for path in folder.iterdir()} == {each["file"] for each in listed} | {done.index.name}


@pytest.mark.parametrize("share", range(SHARES))
def test_statements_add_up(databases: Databases, share: int) -> None:
    play_share(databases, Stated, "STATEMENT_HISTORIES", share)

"""Report = tables: its figures are those that other queries give, and the amounts that it shows add up.

REPORT_HISTORIES histories are played, from HISTORY_SEED on; REPORT_HISTORIES=50 plays 50.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import psycopg
import pytest
from commands import explicit
from conftest import Databases
from histories import SHARES, History, play_share
from other_programs import first_day
from ways import job_url

from jobs.postgres.conninfo import Address
from jobs.reports.month_report import MonthReport, read_month_report
from jobs.reports.report_page import render_report
from jobs.reports.shown_report import show_report

MOVED = """
SELECT d.user_id, sum(d.total_cost * (d.date >= %(month)s)::int), sum(d.total_cost * (d.date < %(month)s)::int)
FROM rollup.user_daily AS d
WHERE d.date BETWEEN %(month)s AND %(last)s OR d.date BETWEEN %(before)s AND %(last_before)s GROUP BY 1"""
PAID = """
SELECT count(*), sum(total_cost), sum(credits_free + credits_purchased), sum(uncovered), sum(amount_due),
  sum(amount_reported), sum(amount_free) FROM rollup.user_monthly WHERE month = %s"""


class Reports(History):
    """A history of which every month's report is compared with the tables."""

    def play(self) -> None:
        self.night(first_day(self.case, self.data.draw))
        self.edits()
        self.night(self.next_day())
        for (month,) in self.asked("SELECT month FROM rollup.months ORDER BY 1"):
            self.compare(month)

    def asked(self, text: str, values: Any = None) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as link:
            return link.execute(text.encode(), values).fetchall()

    def compare(self, month: date) -> None:
        settings = explicit(self.runner.settings(), self.url, self.runner.today)
        with self.runner.on_its_day():
            report = read_month_report(settings, Address(job_url(self.url, lambda: settings)), month, names=True)
        names = ("credits_deducted", "uncovered", "amount_due", "amount_reported", "amount_free")
        figures = [report.totals[name] for name in ("users", "total_cost", *names)]
        [stored] = self.asked(PAID, [month])
        assert figures == [value or 0 for value in stored]
        assert not [check.title for check in report.checks if check.broken]
        for key, query in (("date", BY_DAY), ("cluster_id", BY_CLUSTER)):
            found: dict[Any, Decimal] = {}
            for row in report.day_costs:
                found[row[key]] = found.get(row[key], Decimal()) + row["total_cost"]
            assert found == dict(self.asked(query, [month, report.last]))
        self.compare_movers(report)
        check_sums(report)
        assert render_report(report, datetime(2026, 1, 1, tzinfo=UTC), None).count("<h1>") == 1

    def compare_movers(self, report: MonthReport) -> None:
        before = report.before
        days = {"month": report.month, "last": report.last, "before": before.first, "last_before": before.last}
        rows = self.asked(MOVED, days)
        if before.reason:
            assert not report.movers
            return
        assert before.cost == sum(row[2] for row in rows)
        moved = sorted((row for row in rows if row[1] != row[2]), key=lambda row: (-abs(row[1] - row[2]), row[0]))
        found = {row["user_id"]: (row["cost"], row["cost_before"]) for row in report.movers}
        assert len(found) == min(10, len(moved))
        differences = sorted((abs(now - then) for now, then in found.values()), reverse=True)
        assert differences == [abs(row[1] - row[2]) for row in moved[:10]]
        assert found.items() <= {user: (now, then) for user, now, then in rows}.items()


BY_DAY = "SELECT date, sum(total_cost) FROM rollup.cluster_daily WHERE date BETWEEN %s AND %s GROUP BY 1"
BY_CLUSTER = BY_DAY.replace("SELECT date", "SELECT cluster_id::text")


def check_sums(report: MonthReport) -> None:
    """Each table of the page adds up to its total, whatever is left out of it."""
    for most in (1, 20):
        shown = show_report(report, most)
        cost = shown.total.cost
        assert abs(cost - report.totals["total_cost"]) <= Decimal("0.005")
        assert add([day[1] for day in shown.days]) == add([row.cost for row in shown.clusters]) == cost
        assert add([row.change for row in shown.clusters]) == shown.total.change
        for table in (shown.payments, shown.billing_modes, shown.top_users, shown.ran_out):
            for column in range(len(table[-1].figures) if table else 0):
                assert add([line.figures[column] for line in table[:-1]]) == table[-1].figures[column]


def add(amounts: Sequence[Decimal]) -> Decimal:
    return sum(amounts, Decimal())


@pytest.mark.database
@pytest.mark.skipif(not (find_spec("pygal") and find_spec("jinja2")), reason="needs the extra [reports]")
@pytest.mark.parametrize("share", range(SHARES))
def test_figures_of_reports_are_those_of_the_tables(databases: Databases, share: int) -> None:
    play_share(databases, Reports, "REPORT_HISTORIES", share)

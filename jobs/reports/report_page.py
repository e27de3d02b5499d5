"""The operator's report as an HTML page."""

from datetime import datetime
from itertools import groupby
from pathlib import Path

from jobs.reports import shown_report
from jobs.reports.charts import COLOURS, draw_bars, draw_days, draw_stacked_days
from jobs.reports.month_report import MonthReport
from jobs.reports.pages import render
from jobs.reports.shown_report import ShownReport, show_report

BARS = 10
TEMPLATE = "report.html"


def render_report(report: MonthReport, now: datetime, folder: Path | None) -> str:
    """Returns the page. ``now``: when the figures were read; ``folder``: of the operator's templates.

    Raises ConfigError where a library is missing, or for a mistake in the operator's template.
    """
    shown = show_report(report)
    values = {name: getattr(shown_report, name) for name in ("describe_month", "describe_before", "name_user")}
    values |= {name: getattr(shown_report, name) for name in ("format_change", "format_percent")}
    values |= {"report": report, "shown": shown, "now": now, "charts": _draw(shown)}
    judged = [check for check in report.checks if check.invariant]  # the others only count
    values["invariants"] = [(name, list(checks)) for name, checks in groupby(judged, lambda check: check.invariant)]
    return render(TEMPLATE, values, folder)


def _draw(shown: ShownReport) -> list[tuple[str, str]]:
    """The charts with their captions."""
    if not shown.days:
        return []
    unit = shown.report.currency
    by_cluster = shown_report.cluster_days(shown, len(COLOURS))
    if len(by_cluster) > 1:
        title = "Cost by day and cluster"
        found = [(title, draw_stacked_days(by_cluster, title, unit))]
    else:
        title = "Cost by day"
        found = [(title, draw_days([(day, cost) for day, cost, _ in shown.days], title, unit))]
    report = shown.report
    users = [(row["user_id"], row["total_cost"]) for row in report.lists["top_users"][:BARS]]
    people = [((report.people[user].name if user in report.people else None) or user, cost) for user, cost in users]
    clusters = [(row.name, row.cost) for row in shown.clusters[:BARS] if row.cost]
    found.append(("Clusters with the highest cost", draw_bars(clusters, "Clusters with the highest cost", unit)))
    return [*found, ("Users with the highest cost", draw_bars(people, "Users with the highest cost", unit))]

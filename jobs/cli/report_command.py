"""`usage-jobs report`: the operator's report in its short form on the terminal, or as a page."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.cli.command import Call, command
from jobs.cli.options import MONTH, NO_NAMES, option
from jobs.cli.output import Bold, Result, lay_out, wrap
from jobs.domain.errors import ConfigError
from jobs.domain.wording import count, format_figure
from jobs.reports.pages import cut

if TYPE_CHECKING:
    from jobs.reports.month_report import MonthReport
    from jobs.reports.shown_report import Change, ShownReport

SHORT = 5
"""How many users and clusters the short form names in each table."""
LONGEST = 40
"""Characters of a name or an id: a longer one would widen its whole column."""
STANDARD_OUTPUT = Path("-")


@command(
    "report",
    "a month in figures, and what needs attention, for the operator",
    "usage-jobs report --month 2026-06 --out june.html",
    MONTH,
    option("--out", "write an HTML page (-: standard output); without it the short form is shown", Path),
    NO_NAMES,
)
def report(call: Call) -> Result:
    """A page with --out, else the short form; with --json every figure."""
    from jobs.pipeline.output_files import replace_private
    from jobs.reports import month_report

    arguments, out = call.arguments, call.arguments.out
    _check_out(arguments)
    found = month_report.read_month_report(call.settings, call.address, arguments.month, names=not arguments.no_names)
    if out is None:
        return Result(month_report.to_object(found), _lines(found))
    from jobs.reports.report_page import render_report
    from jobs.reports.shown_report import show_report

    page = render_report(found, call.clock(), call.settings.reports.template)
    if out == STANDARD_OUTPUT:
        return Result({}, [page.removesuffix("\n")])
    size = len(page.encode())
    replace_private(out, page.encode())
    shown = show_report(found)
    lines = [f"wrote {out}: {found.month:%Y-%m}, {shown.total.cost:,} {found.currency} ({size:,} bytes)"]
    described = {"path": str(out), "bytes": size} | month_report.to_object(found)
    return Result(described, [*lines, *_alarm_lines(shown)])


def _check_out(arguments: Namespace) -> None:
    from jobs.pipeline.output_files import check_writable
    from jobs.reports.pages import require_libraries

    out = arguments.out
    if out == STANDARD_OUTPUT and arguments.json:
        raise ConfigError("--json: expected --out FILE with it; standard output cannot hold page and object both")
    if out is not None:
        check_writable("--out", None if out == STANDARD_OUTPUT else out)
        require_libraries()


def _lines(report: MonthReport) -> Iterator[str]:
    from jobs.reports.shown_report import describe_before, describe_month, show_report

    shown = show_report(report, SHORT)
    is_compared = not report.before.reason
    yield Bold(f"Usage report {report.month:%Y-%m}: {shown.total.cost:,} {report.currency}")
    yield wrap(f"{describe_month(report)}. {describe_before(report)}")
    yield from _alarm_lines(shown)
    payments = [(line.text, *map(format_figure, line.figures)) for line in shown.payments]
    yield from _table("How the cost is paid", "<>", payments)
    if shown.clusters:
        rows = _change_rows([*shown.clusters, shown.total], is_compared)
        yield from _table("Clusters with the highest cost", "<>>>>"[: 5 if is_compared else 2], rows)
    if shown.user_movers:
        rows = _change_rows(shown.user_movers, is_compared=True)
        yield from _table("Users whose cost changed most", "<>>>>", rows)
    if report.lists["top_users"]:
        users = [(cut(line.id or line.text, LONGEST), *map(format_figure, line.figures)) for line in shown.top_users]
        yield from _table("Users with the highest cost", "<>>>>", [("", "cost", "credits", "uncovered", "due"), *users])
    yield ""
    yield from _check_lines(report)
    yield wrap(f"Amounts are rounded, in {report.currency}; --json has every digit, and --out FILE.html writes a page.")


def _alarm_lines(shown: ShownReport) -> Iterator[str]:
    yield from (wrap(cut(alarm.text, 1000), "  - ", "    ") for alarm in shown.alarms)
    if not shown.alarms:
        yield "  nothing needs attention"


def _check_lines(report: MonthReport) -> Iterator[str]:
    judged = count(sum(1 for check in report.checks if check.is_judged), "check")
    broken = sum(1 for check in report.checks if check.broken)
    yield f"{broken} of {judged} broken: usage-jobs reconcile" if broken else f"all {judged} hold"
    for check in report.checks:
        if check.note:
            yield wrap(f"{check.name}: {check.note}", "  ", "    ")


def _table(title: str, align: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield ""
    yield Bold(title)
    yield from lay_out(align, rows, indent=2)


def _change_rows(changes: Sequence[Change], is_compared: bool) -> list[tuple[str, ...]]:
    from jobs.reports.shown_report import format_change

    rows: list[tuple[str, ...]] = [("", "cost", "before", "change", "")]
    for row in changes:
        figures = (format_figure(row.cost), format_figure(row.cost_before), format_change(row.change), row.percent)
        # A user is known by the id; a cluster has a name.
        name = row.name if row.id is None or row.users is not None else row.id
        rows.append((cut(name, LONGEST), *figures))
    return rows if is_compared else [row[:2] for row in rows]

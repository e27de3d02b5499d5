"""The output of `report`: the short form of the operator's report, or the file that was written."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from jobs.cli.output import Result, bold, lay_out, wrap
from jobs.domain.wording import count, format_figure
from jobs.reports.month_report import MonthReport, to_object
from jobs.reports.plain_text import cut
from jobs.reports.shown_report import (
    Change,
    Line,
    ShownReport,
    describe_before,
    describe_month,
    format_change,
    show_report,
)

SHORT = 5
"""How many users and clusters the short form names in each table."""
LONGEST = 40
"""Characters of a name or an id: a longer one would widen its whole column."""


def describe_report(report: MonthReport) -> Result:
    """The short form; with --json every figure."""
    return Result(to_object(report), _lines(report))


def describe_page(report: MonthReport, file: Path, size: int) -> Result:
    """The page that was written, and what needs attention; with --json also every figure."""
    shown = show_report(report)
    lines = [f"wrote {file}: {report.month:%Y-%m}, {shown.total.cost:,} {report.currency} ({size:,} bytes)"]
    return Result({"path": str(file), "bytes": size} | to_object(report), [*lines, *_alarm_lines(shown)])


def _lines(report: MonthReport) -> Iterator[str | Text]:
    shown = show_report(report, SHORT)
    yield bold(f"Usage report {report.month:%Y-%m}: {shown.total.cost:,} {report.currency}")
    yield wrap(f"{describe_month(report)}. {describe_before(report)}")
    yield from _alarm_lines(shown)
    yield from _table(
        "How the cost is paid", "<>", [(line.text, *map(format_figure, line.figures)) for line in shown.payments]
    )
    is_compared = not report.before.reason
    if shown.clusters:
        rows = _change_rows([*shown.clusters, shown.total], is_compared)
        yield from _table("Clusters with the highest cost", "<>>>>"[: 5 if is_compared else 2], rows)
    if shown.user_movers:
        rows = _change_rows(shown.user_movers, is_compared=True)
        yield from _table("Users whose cost changed most", "<>>>>", rows)
    if report.lists["top_users"]:
        heading = ("", "cost", "credits", "uncovered", "due")
        rows = [heading, *map(_user_row, shown.top_users)]
        yield from _table("Users with the highest cost", "<>>>>", rows)
    yield ""
    yield from _check_lines(report)
    yield wrap(f"Amounts are rounded, in {report.currency}; --json has every digit, and --out FILE.html writes a page.")


def _alarm_lines(shown: ShownReport) -> Iterator[str | Text]:
    yield from (wrap(cut(alarm.text, 1000), "  - ", "    ") for alarm in shown.alarms)
    if not shown.alarms:
        yield "  nothing needs attention"


def _check_lines(report: MonthReport) -> Iterator[str]:
    judged = sum(1 for check in report.checks if check.is_judged)
    broken = sum(1 for check in report.checks if check.broken)
    yield (
        f"{broken} of {count(judged, 'check')} broken: usage-jobs reconcile"
        if broken
        else f"all {count(judged, 'check')} hold"
    )
    for check in report.checks:
        if check.note:
            yield wrap(f"{check.name}: {check.note}", "  ", "    ")


def _table(title: str, align: str, rows: Sequence[Sequence[str]]) -> Iterator[str | Text]:
    yield ""
    yield bold(title)
    yield from lay_out(align, rows, indent=2)


def _change_rows(changes: Sequence[Change], is_compared: bool) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", "cost", "before", "change", "")]
    for row in changes:
        figures = (format_figure(row.cost), format_figure(row.cost_before), format_change(row.change), row.percent)
        # A user is known by the id; a cluster has a name.
        name = row.name if row.id is None or row.users is not None else row.id
        rows.append((cut(name, LONGEST), *figures))
    return rows if is_compared else [row[:2] for row in rows]


def _user_row(line: Line) -> tuple[str, ...]:
    return (cut(line.id or line.text, LONGEST), *map(format_figure, line.figures))

"""The output of a backfill's plan, and the question that a person must answer before a closed month changes."""

import sys
from collections import Counter

from rich.table import Table

from jobs.cli import output
from jobs.domain.errors import ConfigError
from jobs.domain.run_report import PlanReport, Report

LARGEST = 10


def print_plan(report: Report, *, as_json: bool) -> None:
    """Prints what a backfill has done, or with --dry-run would do."""
    output.print_report(report, as_json=as_json)
    if not as_json and report.plan is not None:
        _print_months(report.plan, report)


def ask_for_approval(report: Report, *, as_json: bool) -> str:
    """Asks at the terminal for approval of the plan, and returns the plan's hash.

    Raises ConfigError if the plan is not approved, or if there is no terminal.
    """
    assert report.plan is not None  # noqa: S101 - a backfill has one
    closed = ", ".join(f"{month.month:%Y-%m}" for month in report.plan.months if month.closed and month.users)
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            f"closed months ({closed}) would change: expected --yes, or --plan {report.plan.hash} to write exactly "
            "these changes; found neither, and no terminal to ask at. Nothing was written; --dry-run shows the plan"
        )
    print_plan(report, as_json=False)
    # Not input(question): with a terminal that writes the question to standard error.
    print(f"Change closed months ({closed})? Type yes to write this plan: ", end="", flush=True)
    try:
        answer = input()
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("yes", "y"):
        raise ConfigError("the plan was not approved: nothing was written")
    return report.plan.hash


def _print_months(plan: PlanReport, report: Report) -> None:
    out = output.make_console()
    months = Table(box=None, pad_edge=False)
    for heading in ("month", "users changed", "cost before", "cost after", "credits before", "credits after"):
        months.add_column(heading, justify="left" if heading == "month" else "right")
    for month in plan.months:
        figures = (month.total_before, month.total_after, month.credits_before, month.credits_after)
        name = f"{month.month:%Y-%m}{' closed' if month.closed else ''}"
        name += f" {month.currency}" if month.currency != report.currency else ""
        months.add_row(name, f"{month.users:,}", *(f"{figure:,.2f}" for figure in figures))
    out.print(months)
    if plan.changes:
        _print_largest_changes(plan)
    verb = "would write" if report.dry_run else "wrote"
    out.print(f"plan {plan.hash}: {verb} {output.count(report.rows_changed, 'row')}", markup=False)
    if report.dry_run and report.rows_changed:
        out.print(f"to write exactly this: the same command with --plan {plan.hash} instead of --dry-run", markup=False)


def _print_largest_changes(plan: PlanReport) -> None:
    out = output.make_console()
    causes = Counter(change.cause for change in plan.changes)
    words = ", ".join(f"{count:,} by {cause}" for cause, count in causes.most_common())
    out.print(f"{output.count(len(plan.changes), 'user-month')} to change: {words}. The largest:", markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("month", "user", "cost before", "after", "credits before", "after", "cause"):
        right = heading.endswith(("before", "after"))
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for change in plan.changes[:LARGEST]:
        figures = (change.old_total, change.new_total, change.old_credits, change.new_credits)
        shown = (f"{figure:,.4f}" for figure in figures)
        table.add_row(f"{change.month:%Y-%m}", output.escape(change.user_id), *shown, change.cause)
    out.print(table)

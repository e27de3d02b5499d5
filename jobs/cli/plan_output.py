"""The output of a backfill's plan, and the question that a person must answer before a closed month changes."""

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from rich.text import Text

from jobs.cli.output import Result, lay_out, print_result, report_lines, report_object, wrap
from jobs.domain.errors import ConfigError
from jobs.domain.run_report import PlanReport, Report
from jobs.domain.wording import count, format_amounts, format_figure

LARGEST = 10


def describe_plan(report: Report) -> Result:
    """What a backfill has done, or with --dry-run would do."""
    lines: Iterator[str | Text] = chain(report_lines(report), _plan_lines(report.plan, report) if report.plan else ())
    return Result(report_object(report), lines, report.exit_code)


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
    print_result(describe_plan(report), as_json=False)
    # Not input(question): with a terminal that writes the question to standard error.
    print(f"Change closed months ({closed})? Type yes to write this plan: ", end="", flush=True)
    try:
        answer = input()
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("yes", "y"):
        raise ConfigError("the plan was not approved: nothing was written")
    return report.plan.hash


def _plan_lines(plan: PlanReport, report: Report) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("month", "users", "cost before", "after", "credits before", "after", "")]
    for month in plan.months:
        costs = format_amounts(month.total_before, month.total_after)
        credits = format_amounts(month.credits_before, month.credits_after)
        name = f"{month.month:%Y-%m}{' closed' if month.closed else ''}"
        rows.append((name, format_figure(month.users), *costs, *credits, month.currency))
    yield from lay_out("<>>>>><", rows)
    if plan.changes:
        causes = Counter(change.cause for change in plan.changes)
        words = ", ".join(f"{number:,} by {cause}" for cause, number in causes.most_common())
        yield wrap(f"{count(len(plan.changes), 'user-month')} to change: {words}. The largest:")
        yield from _largest_changes(plan)
    verb = "would write" if report.dry_run else "wrote"
    yield f"plan {plan.hash}: {verb} {count(report.rows_changed, 'row')}"
    if report.dry_run and report.rows_changed:
        yield wrap(f"to write exactly this: the same command with --plan {plan.hash} instead of --dry-run")


def _largest_changes(plan: PlanReport) -> list[str]:
    rows: list[tuple[str, ...]] = [("month", "user", "cost before", "after", "credits before", "after", "cause")]
    for change in plan.changes[:LARGEST]:
        costs = format_amounts(change.old_total, change.new_total)
        credits = format_amounts(change.old_credits, change.new_credits)
        rows.append((f"{change.month:%Y-%m}", change.user_id, *costs, *credits, change.cause))
    return lay_out("<<>>>><", rows)

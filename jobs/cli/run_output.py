"""The output of `run` and `backfill`, and the question that a person must answer before a closed month changes."""

import sys
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from jobs.cli.output import Bold, Result, items, lay_out, print_result, to_plain, wrap
from jobs.domain.errors import ConfigError
from jobs.domain.run_report import CreditSummary, PlanReport, Report
from jobs.domain.wording import count, format_amounts, format_figure

LARGEST = 10


def describe_report(report: Report) -> Result:
    """What a run or a backfill has done, or with --dry-run would do."""
    return Result(report_object(report), _report_lines(report), report.exit_code)


def _report_lines(report: Report) -> Iterator[str]:
    closed = ", ".join(f"{month:%Y-%m}" for month in report.closed)
    texts = {
        "settings": report.settings_file,
        "rates": report.rates_file,
        "window": f"{report.window_from} to {report.window_to}" + (f", closes {closed}" if closed else ""),
    }
    tables = ", ".join(f"{name} {rows:,}" for name, rows in report.changed.items() if rows)
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in report.seconds.items())
    figures = {
        "users recomputed": (f"{report.users_recomputed:,}", f"(rows read: {report.rows_read:,})"),
        "rejected": (f"{report.rows_rejected:,}", "(see rollup.rejects)" if report.rows_rejected else ""),
        "priced without a recorded cost": (f"{report.unpriced:,}", ""),
        "rows changed": (f"{report.rows_changed:,}", f"({tables})" if tables else ""),
        **_cost_figures(report),
        **_credit_figures(report.credits, report.currency),
        "seconds": (f"{sum(report.seconds.values()):.2f}", f"({stages})" if stages else ""),
    }
    names, amounts = max(map(len, figures)), max(len(figure) for figure, _ in figures.values())
    yield Bold(f"usage-jobs: {'dry run, nothing written' if report.dry_run else f'run {report.run_id}'}")
    yield from items(texts, names)
    for name, (figure, remark) in figures.items():
        first = f"  {name:{names}}  {figure:>{amounts}} "
        yield wrap(remark, first, " " * len(first)) if remark else first.rstrip()
    for note in report.notes:
        yield wrap(note, "  note  ", " " * 8)
    if report.plan is not None:
        yield from _plan_lines(report.plan, report)


def _cost_figures(report: Report) -> dict[str, tuple[str, str]]:
    """The total cost and its parts, all with two decimals; the last part is what the others leave of the total."""
    credits, total = report.credits, Decimal(f"{report.total_cost:z.2f}")
    shown = {word: part for word, part in credits.parts.items() if part and word != credits.rest_because}
    parts = {word: Decimal(f"{part:z.2f}") for word, part in shown.items()}
    if parts and (rest := total - sum(parts.values(), start=Decimal(0))):
        parts[credits.rest_because] = rest
    figures = {word: (format_figure(amount), report.currency) for word, amount in parts.items()}
    if credits.users_ran_out:
        ran_out = f"{report.currency} ({count(credits.users_ran_out, 'user')} ran out of credit)"
        figures["uncovered"] = (figures["uncovered"][0], ran_out)
    return {"total cost": (format_figure(total), report.currency)} | {f"- {word}": it for word, it in figures.items()}


def _credit_figures(summary: CreditSummary, currency: str) -> dict[str, tuple[str, str]]:
    """The credits that the run has posted to the ledger; empty if it has posted none."""
    if not summary.users_drawn:
        return {}
    kinds = f"{format_figure(summary.free)} free, {format_figure(summary.purchased)} purchased"
    corrections = [
        f"{format_figure(entries.amount)} {word} on {count(entries.rows, 'row')}"
        for word, entries in (("more", summary.taken), ("given back", summary.given_back))
        if entries.rows
    ]
    if summary.reassigned:
        corrections.append(f"{count(summary.reassigned, 'row')} between free and purchased")
    of = f"{currency} (of {count(summary.users_drawn, 'user')}: {kinds})"
    posted = {"credits posted": (format_figure(summary.free + summary.purchased), of)}
    return posted | ({"- of these corrections": ("", ", ".join(corrections))} if corrections else {})


def report_object(report: Report) -> dict[str, Any]:
    seconds = {name: round(value, 3) for name, value in report.seconds.items()}
    found: dict[str, Any] = to_plain(report)
    return found | {"seconds": seconds, "rows_changed": report.rows_changed, "exit_code": report.exit_code}


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
    print_result(describe_report(report), as_json=False)
    # Not input(question): with a terminal that writes the question to standard error.
    print(f"Change closed months ({closed})? Type yes to write this plan: ", end="", flush=True)
    try:
        answer = input()
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("yes", "y"):
        raise ConfigError("the plan was not approved: nothing was written")
    return report.plan.hash

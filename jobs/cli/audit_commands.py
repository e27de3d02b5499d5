"""The read-only commands on what was computed: `explain` (its text is in ``explain_output``), `reconcile`, `watch`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

from jobs.cli import explain_output
from jobs.cli.command import Call, command
from jobs.cli.options import MONTH, USER, flag, option, parse_day
from jobs.cli.output import Bold, Result, lay_out, to_plain, wrap
from jobs.domain.wording import count, format_figure, format_pair

if TYPE_CHECKING:
    from jobs.audit.closed_months import ClosedMonth
    from jobs.postgres.invariants import InvariantCheck


@command(
    "explain",
    "how one user's month adds up, row by row",
    "usage-jobs explain --user 'auth0|66a0' --month 2026-06",
    USER,
    MONTH,
)
def explain(call: Call) -> Result:
    """Every row of the month, and the sums of the rows beside the roll-up."""
    from jobs.audit.explain import explain_month

    found = explain_month(call.settings, call.address, call.arguments.user, call.arguments.month)
    return explain_output.describe_explanation(found)


@command(
    "reconcile",
    "check every invariant on the live database; changes nothing",
    "usage-jobs reconcile --from 2026-05-01 --to 2026-06-30",
    option("--from", "only the months from this day's on", parse_day, dest="since"),
    option("--to", "only the months up to this day's", parse_day, dest="until"),
)
def reconcile(call: Call) -> Result:
    """Exit code 6 if an invariant is broken."""
    from jobs.audit import reconcile as audit

    return describe_checks(audit.reconcile(call.settings, call.address, call.arguments.since, call.arguments.until))


def describe_checks(found: Sequence[InvariantCheck]) -> Result:
    """By invariant each check with its figures, its verdict, and the keys that break it."""
    broken = sum(1 for check in found if check.broken)
    checks = [_to_json_object(check) | {"invariant": check.invariant, "verdict": check.verdict} for check in found]
    code = 6 if broken else 0
    return Result({"broken": broken, "laws": checks, "exit_code": code}, _check_lines(found, broken), code)


def _to_json_object(check: InvariantCheck) -> dict[str, Any]:
    """A check by the names that its fields have in `reconcile --json`."""
    names = {"title": "law", "broken_keys": "culprits", "is_judged": "judged"}
    return {names.get(name, name): value for name, value in to_plain(check).items()}


def _check_lines(found: Sequence[InvariantCheck], broken: int) -> Iterator[str]:
    heads = lay_out("<>", [(_verdict(check), _figures(check)) for check in found], indent=2)
    texts = (wrap(check.name, f"{head}  ", " " * (len(head) + 2)) for check, head in zip(found, heads, strict=True))
    checks = zip(found, texts, strict=True)
    for number, some in groupby(checks, lambda pair: pair[0].title[:1] if pair[0].invariant else ""):
        group = list(some)
        yield Bold(f"{number} {group[0][0].invariant}" if number else "Only counted, not checked")
        yield from (Bold(line) if check.broken else line for check, line in group)
        for check, _ in group:
            yield from _details(check)
    judged = sum(1 for check in found if check.is_judged)
    yield f"{broken} of {count(judged, 'check')} broken" if broken else f"all {count(judged, 'check')} hold"
    yield "Amounts are rounded, in the currency of their month; --json has every digit."
    yield "What each invariant means: usage-jobs help how-it-works"


def _verdict(check: InvariantCheck) -> str:
    return f"BROKEN {check.broken:,}" if check.broken else check.verdict if check.invariant else ""


def _figures(check: InvariantCheck) -> str:
    """The figure on which both sides agree, or both figures."""
    both = (check.left, check.right)
    # A number of rows has no decimals, while the server gives amounts with theirs.
    sides = (int(side) if isinstance(side, Decimal) and f"{side:f}".isdecimal() else side for side in both)
    return (" ≠ " if check.broken else ", ").join(dict.fromkeys(filter(None, format_pair(*sides))))


def _details(check: InvariantCheck) -> Iterator[str]:
    """Yields the broken keys of a check with their differences, its note, and SQL remedies without indentation."""
    pairs = zip_longest(check.broken_keys, check.differences, fillvalue="")
    lines = [f"{key}: {difference}" if difference else key for key, difference in pairs]
    if lines := [*lines, *filter(None, [check.note])]:
        yield wrap(f"{check.name}:", "  ", "  ")
    yield from (wrap(line, "    ", "    ") for line in lines)
    yield from check.remedies


@command(
    "watch",
    "have closed months changed upstream? changes nothing",
    "usage-jobs watch --all",
    flag("--all", "every closed month (default: the last watch_months)"),
)
def watch(call: Call) -> Result:
    """Exit code 6 if a closed month has changed."""
    from jobs.audit.closed_months import watch_closed_months

    return describe_closed_months(watch_closed_months(call.settings, call.address, every=call.arguments.all))


def describe_closed_months(found: Sequence[ClosedMonth]) -> Result:
    """Each closed month as it closed and as it is now, and the remedies."""
    changed = [month for month in found if month.changed]
    months = [to_plain(month) | {"backfill": month.remedy if month.changed else None} for month in found]
    code = 6 if changed else 0
    result = {"months": months, "changed": len(changed), "exit_code": code}
    return Result(result, _closed_month_lines(found, changed), code)


def _closed_month_lines(found: Sequence[ClosedMonth], changed: Sequence[ClosedMonth]) -> Iterator[str]:
    if not found:
        yield "no month is closed yet"
        return
    rows: list[tuple[str, ...]] = [
        ("closed month", "rows then", "now", "cost then", "now", "", "user-months that differ")
    ]
    for month in found:
        differ = ", ".join(f"{number:,} by {cause}" for cause, number in sorted(month.causes.items()))
        if month.missing:
            differ = f"not compared: no column {', '.join(month.missing)}"
        counts = (format_figure(number) for number in (month.rows_before, month.rows_now))
        costs = format_pair(month.total_before, month.total_now, none="")
        rows.append((f"{month.month:%Y-%m}", *counts, *costs, month.currency, differ or "none"))
    yield from lay_out("<>>>><<", rows)
    for month in changed:
        yield f"{month.month:%Y-%m} changed upstream; to see what to do:"
        yield f"  {month.remedy} --dry-run"
    if lost := sorted({column for month in found for column in month.missing}):
        yield wrap(
            "some months are not compared: they were closed with columns of usage_daily that do not exist any more, "
            f"or that this role may not read ({', '.join(lost)}). A backfill computes them without these columns"
        )
    elif not changed:
        yield "nothing has changed upstream"

"""The output of `check`, `reconcile`, `watch` and `debts`, as text or JSON."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

from rich.text import Text

from jobs.cli.output import Result, bold, items, lay_out, to_plain, wrap
from jobs.domain.wording import count, format_figure, format_pair
from jobs.postgres.catalog import SOURCES
from jobs.postgres.conninfo import Address
from jobs.postgres.debts import Debt
from jobs.postgres.findings import Finding
from jobs.postgres.invariants import InvariantCheck
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.audit.closed_months import ClosedMonth  # imports polars


def describe_findings(found: Sequence[Finding], settings: Settings, address: Address) -> Result:
    result = {"address": repr(address), "settings": settings.source, "findings": list(found)}
    code = 5 if any(finding.level not in ("ok", "note") for finding in found) else 0
    return Result(result, _finding_lines(found, settings, address), code)


def _finding_lines(found: Sequence[Finding], settings: Settings, address: Address) -> Iterator[str | Text]:
    yield wrap(f"{address!r}, settings: {settings.source}, rates: {settings.rates}", rest="  ")
    for subject, what in _summarize_ok(found).items():
        yield wrap(f"{subject}: {what}", "ok    ", " " * 6)
    others = [finding for finding in found if finding.level != "ok"]
    for finding in others:
        note = finding.level == "note"
        yield ""
        yield f"note  {finding.subject}" if note else bold(f"REFUSED  {finding.subject}")
        texts = (finding.expected, finding.found, finding.consequence, finding.remedy)
        yield from items(dict(zip(("expected", "found", "so", "do"), texts, strict=True)))
    refused = sum(1 for finding in others if finding.level != "note")
    yield ""
    yield bold(f"refused: {refused}" if refused else "ready")


def _summarize_ok(found: Sequence[Finding]) -> dict[str, str]:
    """What was found, by subject, of the findings with the level ok; columns are listed together by table."""
    by_table: dict[str, list[str]] = {}
    for finding in found:
        if finding.level == "ok":
            table, _, column = finding.subject.partition(".")
            is_column = table in SOURCES and " " not in column
            subject, what = (table, column) if is_column else (finding.subject, finding.found)
            by_table.setdefault(subject, []).append(what)
    return {subject: ", ".join(what) for subject, what in by_table.items()}


def describe_checks(found: Sequence[InvariantCheck]) -> Result:
    """The result of `reconcile`: by invariant each check with its figures, its verdict, and the keys that break it."""
    broken = sum(1 for check in found if check.broken)
    checks = [_to_json_object(check) | {"invariant": check.invariant, "verdict": check.verdict} for check in found]
    code = 6 if broken else 0
    return Result({"broken": broken, "laws": checks, "exit_code": code}, _check_lines(found, broken), code)


def _to_json_object(check: InvariantCheck) -> dict[str, Any]:
    """A check by the names that its fields have in `reconcile --json`."""
    names = {"title": "law", "broken_keys": "culprits", "is_judged": "judged"}
    return {names.get(name, name): value for name, value in to_plain(check).items()}


def _check_lines(found: Sequence[InvariantCheck], broken: int) -> Iterator[str | Text]:
    heads = lay_out("<>", [(_verdict(check), _figures(check)) for check in found], indent=2)
    texts = (wrap(check.name, f"{head}  ", " " * (len(head) + 2)) for check, head in zip(found, heads, strict=True))
    checks = zip(found, texts, strict=True)
    for number, some in groupby(checks, lambda pair: pair[0].title[:1] if pair[0].invariant else ""):
        group = list(some)
        yield bold(f"{number} {group[0][0].invariant}" if number else "Only counted, not checked")
        yield from (bold(line) if check.broken else line for check, line in group)
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


def describe_closed_months(found: Sequence["ClosedMonth"]) -> Result:
    """The table of `watch`: each closed month as it closed and as it is now, and the remedies."""
    changed = [month for month in found if month.changed]
    months = [to_plain(month) | {"backfill": month.remedy if month.changed else None} for month in found]
    code = 6 if changed else 0
    result = {"months": months, "changed": len(changed), "exit_code": code}
    return Result(result, _closed_month_lines(found, changed), code)


def _closed_month_lines(found: Sequence["ClosedMonth"], changed: Sequence["ClosedMonth"]) -> Iterator[str]:
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


def describe_debts(found: Sequence[Debt], currency: str) -> Result:
    """The table of `debts`: what was uncovered of each row when its month closed, settled and written off."""
    left = sum((debt.open for debt in found), start=Decimal(0))
    debts = [to_plain(debt) | {"open": str(debt.open)} for debt in found]
    return Result({"debts": debts, "open": str(left)}, _debt_lines(found, left, currency))


def _debt_lines(found: Sequence[Debt], left: Decimal, currency: str) -> Iterator[str]:
    if not found:
        yield "no user owes anything for a closed month"
        return
    rows: list[tuple[str, ...]] = [("user", "day", "uncovered", "settled", "written off", "open")]
    for debt in found:
        amounts = (debt.amount, debt.settled, debt.written_off, debt.open)
        rows.append((debt.user_id, str(debt.usage_date), *map(format_figure, amounts)))
    heading, *lines = lay_out("<<>>>>", rows)
    yield heading
    for debt, line in zip(found, lines, strict=True):
        yield line
        if debt.reason:
            yield wrap(debt.reason, "  written off: ", "  ")
    owing = {debt.user_id for debt in found if debt.open}
    yield f"{format_figure(left)} {currency} open of {count(len(owing), 'user')}"

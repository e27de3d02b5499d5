"""The output of `explain`, `reconcile`, `watch` and `debts`, as text or JSON."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

from rich.text import Text

from jobs.audit.explanation import Explanation, Line, PricedQuantity
from jobs.cli.output import Result, bold, lay_out, to_plain, wrap
from jobs.domain.wording import count, format_amounts, format_figure, format_value
from jobs.postgres.debts import Debt
from jobs.postgres.invariants import InvariantCheck

if TYPE_CHECKING:
    from jobs.audit.closed_months import ClosedMonth  # imports polars


def describe_checks(found: Sequence[InvariantCheck]) -> Result:
    """The result of `reconcile`: by invariant each check with its figures, its verdict, and its culprits."""
    broken = sum(1 for check in found if check.broken)
    laws = [_to_json_object(check) | {"invariant": check.invariant, "verdict": check.verdict} for check in found]
    code = 6 if broken else 0
    return Result({"broken": broken, "laws": laws, "exit_code": code}, _check_lines(found, broken), code)


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
    return (" ≠ " if check.broken else ", ").join(dict.fromkeys(filter(None, _pair(*sides))))


def _details(check: InvariantCheck) -> Iterator[str]:
    """Yields the culprits of a check with their differences, its note, and SQL remedies without indentation."""
    pairs = zip_longest(check.broken_keys, check.differences, fillvalue="")
    lines = [f"{culprit}: {difference}" if difference else culprit for culprit, difference in pairs]
    if lines := [*lines, *filter(None, [check.note])]:
        yield wrap(f"{check.name}:", "  ", "  ")
    yield from (wrap(line, "    ", "    ") for line in lines)
    yield from check.remedies


def describe_explanation(explanation: Explanation) -> Result:
    """Every row of a user's month, and the sums of the rows beside the roll-up."""
    return Result({**to_plain(explanation), "agrees": explanation.agrees}, _explanation_lines(explanation))


def _explanation_lines(explanation: Explanation) -> Iterator[str | Text]:
    month, closed = f"{explanation.month:%Y-%m} to {explanation.last}", ", closed" if explanation.closed else ""
    yield bold(f"{explanation.user}, {month}, {explanation.currency}, cost mode {explanation.cost_mode}{closed}")
    if not explanation.agrees:
        yield from _difference_lines(explanation)
    tables = [_charges(explanation, line) for line in explanation.lines]
    amounts = iter(_align([amount for table in tables for _, amount in table]))
    for line, table in zip(explanation.lines, tables, strict=True):
        yield f"{line.day}, {_cluster(line.cluster)}, row {line.id}"
        for what, _ in table:
            first = f"  {next(amounts)}  "
            text = wrap(what, first, " " * len(first))
            yield bold(text) if what.startswith("cost") else text
    for rejected in explanation.rejected:
        yield f"{rejected.day}, {_cluster(rejected.cluster)}, row {rejected.id}"
        yield wrap(f"rejected, not priced: {rejected.reason}", "  ", "  ")
    yield bold("sums")
    yield from lay_out("<>><", _sums(explanation))
    if owed := explanation.owed:
        amounts = map(format_figure, (owed.uncovered, owed.settled, owed.written_off, owed.open))
        text = "not covered by credit when the month closed: {}; settled since: {}, written off: {}, still owed: {} {}"
        yield wrap(text.format(*amounts, explanation.currency))


def _difference_lines(explanation: Explanation) -> Iterator[str]:
    """Yields the stored cost and the cost as computed now, and the days that differ."""
    stored, now = _pair(
        *(figures.get("total_cost") for figures in (explanation.rollup, explanation.sums)), none="nothing"
    )
    if explanation.closed:
        days = f"--from {explanation.month} --to {explanation.last}"
        text = (
            f"The month is closed: its stored cost of {stored} does not change. With usage, prices and overrides as "
            f"they are now, which the rows below show, the cost would be {now}. To see what would change: "
            f"usage-jobs backfill {days} --reason TEXT --dry-run"
        )
    else:
        text = (
            f"The roll-up differs: usage, prices or overrides have changed since the run that wrote it. The stored "
            f"cost is {stored}; with the current data, which the rows below show, it is {now}. The next run writes it"
        )
    yield wrap(text)
    for day in explanation.days:
        before, after = _pair(day.stored, day.now, none="nothing")
        yield wrap(f"{day.day}, {_cluster(day.cluster)}: {before} is stored, {after} now", "  ", "    ")


def _pair(*values: Any, none: str = "none") -> list[str]:
    """Two values as text; two amounts with as many decimals as tell them apart."""
    if all(isinstance(value, Decimal) for value in values):
        return format_amounts(*values)
    return [none if value is None else format_figure(value) for value in values]


def _cluster(cluster: str | None) -> str:
    return "no cluster" if cluster is None else f"cluster {cluster[:8]}"


def _charges(explanation: Explanation, line: Line) -> list[tuple[str, Decimal]]:
    """What each part of the row's quantity is charged, the row's cost, and how it is paid.

    The amounts above the cost add up to it.
    """
    rows = [(f"{_formula(explanation, piece)} ({piece.because})", piece.charge) for piece in line.pieces]
    if line.adjustment:
        rows.append(("adjustment: recorded cost - charges", line.adjustment))
    rows.append(("cost, as recorded" if line.adjustment or line.recorded == line.cost else "cost", line.cost))
    paid = line.paid
    kinds = {
        "drawn from free credit": paid.free,
        "drawn from purchased credit": paid.purchased,
        "uncovered: no credit left": paid.uncovered,
        f"due ({paid.mode})": paid.amount_due,
        "reported elsewhere": paid.amount_reported,
    }
    ways = [(kind, amount) for kind, amount in kinds.items() if amount]
    return rows + (ways or ([(f"({paid.mode})", Decimal(0))] if line.cost else []))


def _align(amounts: Sequence[Decimal]) -> list[str]:
    """The exact amounts, with two decimals at least, as texts of one length with their points below each other."""
    parts = [_exact(amount).partition(".") for amount in amounts]
    whole, decimals = (max([least, *(len(part[at]) for part in parts)]) for at, least in ((0, 1), (2, 2)))
    return [f"{before:>{whole}}.{after:0<2}".ljust(whole + 1 + decimals) for before, _, after in parts]


def _formula(explanation: Explanation, piece: PricedQuantity) -> str:
    """How the charge of a piece is computed, such as 50 GB above 100 × 0.25 ÷ 30 days."""
    parts = [f"{piece.meter}: {_exact(piece.quantity)} {explanation.units[piece.meter]}"]
    if piece.tier_from:
        parts.append(f"above {_exact(piece.tier_from)}")
    parts.append(f"× {_exact(piece.price)}")
    if piece.per != 1:
        parts.append(f"÷ {piece.per:,}")
    if piece.days is not None:
        parts.append(f"÷ {piece.days} days")
    if piece.discount is not None:
        parts.append(f"- {_exact(piece.discount)} %")
    return " ".join(parts)


def _exact(value: Decimal) -> str:
    return f"{Decimal(format_value(value)):,f}"


def _sums(explanation: Explanation) -> list[tuple[str, str, str, str]]:
    """The sums of the rows beside the roll-up; for a closed month the stored value first, then the value as of now."""
    headings = ("stored", "would be now") if explanation.closed else ("sum of the rows", "roll-up")
    rows = [("column", *headings, "")]
    for name in explanation.sums or explanation.rollup:
        now, stored = _pair(*(figures.get(name) for figures in (explanation.sums, explanation.rollup)))
        differs = name in explanation.differing
        both = (stored, now if differs else "") if explanation.closed else (now, stored)
        rows.append((name, *both, "DIFFERS" if differs else "equal"))
    return rows


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
        costs = _pair(month.total_before, month.total_now, none="")
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

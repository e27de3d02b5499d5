"""The output of `explain`, `reconcile`, `watch` and `debts`, as text or JSON."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby, zip_longest
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.audit.closed_months import ClosedMonth
from jobs.audit.explanation import Explanation, Line, PricedQuantity
from jobs.cli.output import count, escape, make_console, short_amount, to_json, to_plain
from jobs.postgres.debts import Debt
from jobs.postgres.invariants import InvariantCheck


def print_checks(found: Sequence[InvariantCheck], *, as_json: bool) -> None:
    """Prints the result of `reconcile`: by invariant each check with both figures, its verdict, and its culprits."""
    broken = sum(1 for check in found if check.broken)
    if as_json:
        objects = [_to_json_object(check) | {"invariant": check.invariant, "verdict": check.verdict} for check in found]
        print(to_json({"broken": broken, "laws": objects, "exit_code": 6 if broken else 0}))
        return
    out, width = make_console(), max(len(_figure(side)) for check in found for side in (check.left, check.right))
    for number, some in groupby(found, lambda check: check.title[:1] if check.invariant else ""):
        checks = list(some)
        out.print(f"{number} {checks[0].invariant}" if number else "Counted, not judged", style="bold", markup=False)
        out.print(_checks_table(checks, width))
        for check in checks:
            _print_details(check)
    judged = sum(1 for check in found if check.is_judged)
    print(f"{broken} of {judged} checks are broken" if broken else f"all {judged} checks hold")
    print("What each invariant means: usage-jobs help how-it-works")


def _to_json_object(check: InvariantCheck) -> dict[str, Any]:
    """A check by the names that its fields have in `reconcile --json`."""
    names = {"title": "law", "broken_keys": "culprits", "is_judged": "judged"}
    return {names.get(name, name): value for name, value in to_plain(check).items()}


def _checks_table(found: Sequence[InvariantCheck], width: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column()  # an empty column indents folded lines
    table.add_column(ratio=1, overflow="fold")
    for least in (width, width):
        table.add_column(justify="right", min_width=least)
    table.add_column(min_width=len("not judged"))
    for check in found:
        verdict = f"[bold]BROKEN[/] {check.broken:,}" if check.broken else check.verdict
        table.add_row("", escape(check.name), _figure(check.left), _figure(check.right), verdict)
    return table


def _print_details(check: InvariantCheck) -> None:
    """Prints the culprits of a check with their differences, its note, and SQL remedies without indentation."""
    pairs = zip_longest(check.broken_keys, check.differences, fillvalue="")
    culprits = [f"{culprit}: {difference}" if difference else culprit for culprit, difference in pairs]
    if lines := [*culprits, *([check.note] if check.note else [])]:
        _print_indented(f"{check.name}:", 2)
    for line in lines:
        _print_indented(line, 4)
    for remedy in check.remedies:
        print(remedy)


def _print_indented(text: str, by: int) -> None:
    make_console().print(Padding(Text(text, overflow="fold"), (0, 0, 0, by)))


def _figure(value: Decimal | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{Decimal(short_amount(value)):,f}"


def print_explanation(explanation: Explanation, *, as_json: bool) -> None:
    """Prints every row of a user's month, and the sums of the rows beside the roll-up."""
    if as_json:
        print(to_json({**to_plain(explanation), "agrees": explanation.agrees}))
        return
    out = make_console()
    days = f"{explanation.month:%Y-%m} to {explanation.last}"
    closed = ", closed" if explanation.closed else ""
    heading = f"{explanation.user}, {days}, {explanation.currency}, cost = {explanation.cost_mode!r}{closed}"
    out.print(heading, style="bold", markup=False)
    if not explanation.agrees:
        _print_difference(explanation)
    for line in explanation.lines:
        out.print(f"{line.day}, {_cluster(line.cluster)}, row {line.id}", markup=False)
        out.print(_line_table(explanation, line))
    for row in explanation.rejected:
        out.print(f"{row.day}, {_cluster(row.cluster)}, row {row.id}", markup=False)
        _print_indented(f"rejected, not priced: {row.reason}", 2)
    out.print(_sums_table(explanation))
    if owed := explanation.owed:
        amounts = (short_amount(each) for each in (owed.uncovered, owed.settled, owed.written_off, owed.open))
        text = "uncovered when the month closed: {}; settled since: {}, written off: {}, still owed: {}"
        out.print(text.format(*amounts), markup=False)


def _print_difference(explanation: Explanation) -> None:
    """Prints the stored cost and the cost as computed now, and the days that differ."""
    stored, now = (
        short_amount(figures["total_cost"]) if figures else "nothing"
        for figures in (explanation.rollup, explanation.sums)
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
    make_console().print(text, markup=False)
    for day in explanation.days:
        costs = ["nothing" if cost is None else short_amount(cost) for cost in (day.stored, day.now)]
        _print_indented(f"{day.day}, {_cluster(day.cluster)}: {costs[0]} is stored, {costs[1]} now", 2)


def _cluster(cluster: str | None) -> str:
    return "no cluster" if cluster is None else f"cluster {cluster[:8]}"


def _line_table(explanation: Explanation, line: Line) -> Table:
    """The charge of each part of the row's quantity, the row's cost, and how it is paid.

    The amounts above the cost add up to it.
    """
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column(min_width=1)  # an empty column indents folded lines
    table.add_column(ratio=5, overflow="fold")
    table.add_column(justify="right", min_width=12)
    table.add_column(ratio=4, overflow="fold")
    for piece in line.pieces:
        table.add_row("", escape(_formula(explanation, piece)), short_amount(piece.charge), escape(piece.because))
    if line.adjustment:
        table.add_row("", "adjustment: recorded cost - charges", short_amount(line.adjustment), "")
    how = "as recorded" if line.adjustment or line.recorded == line.cost else ""
    table.add_row("", "cost", f"[bold]{short_amount(line.cost)}[/]", how)
    paid = line.paid
    kinds = {
        "drawn, free credits": paid.free,
        "drawn, purchased credits": paid.purchased,
        "uncovered: no credit left": paid.uncovered,
        f"due ({paid.mode})": paid.amount_due,
        "reported elsewhere": paid.amount_reported,
    }
    for kind, amount in kinds.items():
        if amount:
            table.add_row("", "", short_amount(amount), kind)
    if not any(kinds.values()) and line.cost:
        table.add_row("", "", "0", f"({paid.mode})")
    return table


def _formula(explanation: Explanation, piece: PricedQuantity) -> str:
    """How the charge of a piece is computed, such as 50 GB above 100 × 0.25 ÷ 30 days."""
    parts = [f"{piece.meter}: {short_amount(piece.quantity)} {explanation.units[piece.meter]}"]
    if piece.tier_from:
        parts.append(f"above {short_amount(piece.tier_from)}")
    parts.append(f"× {short_amount(piece.price)}")
    if piece.per != 1:
        parts.append(f"÷ {piece.per}")
    if piece.days is not None:
        parts.append(f"÷ {piece.days} days")
    if piece.discount is not None:
        parts.append(f"- {short_amount(piece.discount)} %")
    return " ".join(parts)


def _sums_table(explanation: Explanation) -> Table:
    """The sums of the rows beside the roll-up; for a closed month the stored value first, then the value as of now."""
    table = Table(box=None, pad_edge=False, title="sums", title_justify="left")
    headings = ("stored", "would be now") if explanation.closed else ("sum of the rows", "roll-up")
    for name in ("column", *headings, ""):
        table.add_column(name, justify="left" if name == "column" else "right", overflow="fold")
    for name in explanation.sums or explanation.rollup:
        now, stored = (_amount(figures.get(name)) for figures in (explanation.sums, explanation.rollup))
        differs = name in explanation.differing
        both = (stored, now if differs else "") if explanation.closed else (now, stored)
        table.add_row(name, *both, "[bold]differs[/]" if differs else "equal")
    return table


def _amount(value: Any) -> str:
    return "none" if value is None else short_amount(value)


def print_closed_months(found: Sequence[ClosedMonth], *, as_json: bool) -> None:
    """Prints the table of `watch`: each closed month as it closed and as it is now, and the remedies."""
    changed = [month for month in found if month.changed]
    if as_json:
        months = [to_plain(month) | {"backfill": month.remedy if month.changed else None} for month in found]
        print(to_json({"months": months, "changed": len(changed), "exit_code": 6 if changed else 0}))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("closed month", "rows then", "now", "cost then", "now", "", "user-months that differ"):
        table.add_column(heading, justify="left" if "month" in heading else "right", overflow="fold")
    for month in found:
        differ = ", ".join(f"{count:,} by {cause}" for cause, count in sorted(month.causes.items()))
        if month.missing:
            differ = f"not compared: no column {', '.join(month.missing)}"
        before = "" if month.total_before is None else short_amount(month.total_before)
        rows = (f"{month.rows_before:,}", f"{month.rows_now:,}")
        table.add_row(
            f"{month.month:%Y-%m}", *rows, before, short_amount(month.total_now), month.currency, differ or "none"
        )
    make_console().print(table if found else "no month is closed yet")
    for month in changed:
        print(f"{month.month:%Y-%m} changed upstream; to see what to do: {month.remedy} --dry-run")
    if lost := sorted({column for month in found for column in month.missing}):
        print(
            f"some months are not compared: they were closed with columns of usage_daily that do not exist any more, "
            f"or that this role may not read ({', '.join(lost)}). A backfill computes them without these columns"
        )
    elif found and not changed:
        print("nothing has changed upstream")


def print_debts(found: Sequence[Debt], currency: str, *, as_json: bool) -> None:
    """Prints the table of `debts`: what was uncovered of each row when its month closed, settled and written off."""
    left = sum((debt.open for debt in found), start=Decimal(0))
    if as_json:
        print(to_json({"debts": [to_plain(debt) | {"open": str(debt.open)} for debt in found], "open": str(left)}))
        return
    if not found:
        print("no user owes anything for a closed month")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("user", "day", "uncovered", "settled", "written off", "open", "reason"):
        table.add_column(heading, justify="left" if heading in ("user", "day", "reason") else "right", overflow="fold")
    for debt in found:
        amounts = (debt.amount, debt.settled, debt.written_off, debt.open)
        table.add_row(escape(debt.user_id), str(debt.usage_date), *map(_figure, amounts), escape(debt.reason or ""))
    make_console().print(table)
    owing = {debt.user_id for debt in found if debt.open}
    print(f"{_figure(left)} {currency} open of {count(len(owing), 'user')}")


def print_written_off(user: str, amount: Decimal, currency: str, number: int, *, as_json: bool) -> None:
    """Prints the result of `debts --write-off`."""
    if as_json:
        print(to_json({"user": user, "written_off": str(amount), "run_id": number}))
    else:
        print(f"{user}: {_figure(amount)} {currency} written off (run {number}); later credit does not pay it")

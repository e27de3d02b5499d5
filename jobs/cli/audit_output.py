"""What a person sees, or with --json a program, of figures: `explain`, `reconcile`, `watch`, `debts`."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby, zip_longest
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.audit.closed_months import ClosedMonth
from jobs.audit.explanation import Explanation, Line, PricedQuantity
from jobs.cli.output import NARROW, escape, make_console, short_amount, to_json, to_plain
from jobs.postgres.debts import Debt
from jobs.postgres.invariants import Law


def print_checks(found: Sequence[Law], *, as_json: bool) -> None:
    """What `reconcile` says: by invariant each check, both its figures and the verdict; who breaks it, and how."""
    broken = sum(1 for law in found if law.broken)
    if as_json:
        objects = [to_plain(law) | {"invariant": law.invariant, "verdict": law.verdict} for law in found]
        print(to_json({"broken": broken, "laws": objects, "exit_code": 6 if broken else 0}))
        return
    out, width = make_console(NARROW), max(len(_side(side)) for law in found for side in (law.left, law.right))
    for number, some in groupby(found, lambda law: law.law[:1] if law.invariant else ""):
        checks = list(some)
        out.print(f"{number} {checks[0].invariant}" if number else "Counted, not judged", style="bold", markup=False)
        out.print(_checks(checks, width))
        for law in checks:
            _told_of(law)
    judged = sum(1 for law in found if law.judged)
    print(f"{broken} of {judged} checks are broken" if broken else f"all {judged} checks hold")
    print("What each invariant means: README.md, section Invariants")


def _checks(found: Sequence[Law], width: int) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column()  # what is folded stays indented
    table.add_column(ratio=1, overflow="fold")
    for least in (width, width):
        table.add_column(justify="right", min_width=least)
    table.add_column(min_width=len("not judged"))
    for law in found:
        verdict = f"[bold]BROKEN[/] {law.broken:,}" if law.broken else law.verdict
        table.add_row("", escape(law.name), _side(law.left), _side(law.right), verdict)
    return table


def _told_of(law: Law) -> None:
    """Who breaks it, and how; what else is to be said; and SQL, as it is to be run."""
    told = zip_longest(law.culprits, law.differences, fillvalue="")
    culprits = [f"{culprit}: {difference}" if difference else culprit for culprit, difference in told]
    if lines := [*culprits, *([law.note] if law.note else [])]:
        _indented(f"{law.name}:", 2)
    for line in lines:
        _indented(line, 4)
    for remedy in law.remedies:
        print(remedy)


def _indented(text: str, by: int) -> None:
    make_console(NARROW).print(Padding(Text(text, overflow="fold"), (0, 0, 0, by)))


def _side(value: Decimal | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{Decimal(short_amount(value)):,f}"


def print_explanation(told: Explanation, *, as_json: bool) -> None:
    """Every row of a user's month, and its sums beside the roll-up's."""
    if as_json:
        print(to_json({**to_plain(told), "agrees": told.agrees}))
        return
    out = make_console(NARROW)
    closed = ", closed" if told.closed else ""
    heading = f"{told.user}, {told.month:%Y-%m} to {told.last}, {told.currency}, cost = {told.cost_mode!r}{closed}"
    out.print(heading, style="bold", markup=False)
    if not told.agrees:
        _differs(told)
    for line in told.lines:
        out.print(f"{line.day}, {_place(line.cluster)}, row {line.id}", markup=False)
        out.print(_row(told, line))
    for row in told.rejected:
        out.print(f"{row.day}, {_place(row.cluster)}, row {row.id}", markup=False)
        _indented(f"rejected, not priced: {row.reason}", 2)
    out.print(_sums(told))
    if owed := told.owed:
        amounts = (short_amount(each) for each in (owed.uncovered, owed.settled, owed.written_off, owed.open))
        text = "uncovered when the month closed: {}; settled since: {}, written off: {}, still owed: {}"
        out.print(text.format(*amounts), markup=False)


def _differs(told: Explanation) -> None:
    """What stands, and what it would be by what is there now."""
    stands, now = (
        short_amount(figures["total_cost"]) if figures else "nothing" for figures in (told.rollup, told.sums)
    )
    if told.closed:
        days = f"--from {told.month} --to {told.last}"
        text = (
            f"The month is closed: what was booked stands, a cost of {stands}. By usage, prices and overrides as they "
            f"are now, which the rows below show, it would be {now}. To see what would change: "
            f"usage-jobs backfill {days} --reason TEXT --dry-run"
        )
    else:
        text = (
            f"The roll-up differs: usage, prices or overrides have changed since the run that wrote it. Stored is a "
            f"cost of {stands}; by what is there now, which the rows below show, it is {now}. The next run writes it"
        )
    make_console(NARROW).print(text, markup=False)
    for day in told.days:
        costs = ["nothing" if cost is None else short_amount(cost) for cost in (day.stored, day.now)]
        _indented(f"{day.day}, {_place(day.cluster)}: {costs[0]} is stored, {costs[1]} now", 2)


def _place(cluster: str | None) -> str:
    return "no cluster" if cluster is None else f"cluster {cluster[:8]}"


def _row(told: Explanation, line: Line) -> Table:
    """What each part of the row's quantity costs, the row's cost, and how it is paid. The amounts down to the cost add
    up to it."""
    table = Table(box=None, pad_edge=False, show_header=False, expand=True)
    table.add_column(min_width=1)  # what is folded stays indented
    table.add_column(ratio=5, overflow="fold")
    table.add_column(justify="right", min_width=12)
    table.add_column(ratio=4, overflow="fold")
    for piece in line.pieces:
        table.add_row("", escape(_computed(told, piece)), short_amount(piece.charge), escape(piece.because))
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


def _computed(told: Explanation, piece: PricedQuantity) -> str:
    """How the charge of a piece comes about: 50 GB above 100 × 0.25 ÷ 30 days."""
    parts = [f"{piece.meter}: {short_amount(piece.quantity)} {told.units[piece.meter]}"]
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


def _sums(told: Explanation) -> Table:
    """The sums of the rows and what is stored; of a closed month what was booked first, and what it would be now."""
    table = Table(box=None, pad_edge=False, title="sums", title_justify="left")
    headings = ("booked", "would be now") if told.closed else ("sum of the rows", "roll-up")
    for name in ("column", *headings, ""):
        table.add_column(name, justify="left" if name == "column" else "right", overflow="fold")
    for name in told.sums or told.rollup:
        now, stands = (_amount(figures.get(name)) for figures in (told.sums, told.rollup))
        differs = name in told.differing
        both = (stands, now if differs else "") if told.closed else (now, stands)
        table.add_row(name, *both, "[bold]differs[/]" if differs else "equal")
    return table


def _amount(value: Any) -> str:
    return "none" if value is None else short_amount(value)


def print_closed_months(found: Sequence[ClosedMonth], *, as_json: bool) -> None:
    """The table of `watch`: each closed month as it closed and as it is now, and what mends those that changed."""
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
            f"some months closed by columns of usage_daily that are gone, or that this role may not read "
            f"({', '.join(lost)}): they are not compared. A backfill computes them without these"
        )
    elif found and not changed:
        print("nothing has changed upstream")


def print_debts(found: Sequence[Debt], currency: str, *, as_json: bool) -> None:
    """The table of `debts`: what was uncovered of each row when its month closed, and what became of it."""
    left = sum((debt.open for debt in found), start=Decimal(0))
    if as_json:
        print(to_json({"debts": [to_plain(debt) | {"open": str(debt.open)} for debt in found], "open": str(left)}))
        return
    if not found:
        print("nobody owes anything for a closed month")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("user", "day", "uncovered", "settled", "written off", "open", "reason"):
        table.add_column(heading, justify="left" if heading in ("user", "day", "reason") else "right", overflow="fold")
    for debt in found:
        amounts = (debt.amount, debt.settled, debt.written_off, debt.open)
        table.add_row(escape(debt.user_id), str(debt.usage_date), *map(_side, amounts), escape(debt.reason or ""))
    make_console(NARROW).print(table)
    owing = {debt.user_id for debt in found if debt.open}
    print(f"{_side(left)} {currency} open of {len(owing):,} {'user' if len(owing) == 1 else 'users'}")


def print_written_off(user: str, amount: Decimal, currency: str, number: int, *, as_json: bool) -> None:
    """That what a user owed is ended."""
    if as_json:
        print(to_json({"user": user, "written_off": str(amount), "run_id": number}))
    else:
        print(f"{user}: {_side(amount)} {currency} written off (run {number}); later credit pays nothing of it")

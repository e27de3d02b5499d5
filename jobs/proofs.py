"""What a person sees, or with --json a program, of whether figures are right: `explain`, `reconcile`, `watch`."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby, zip_longest

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobs.explain import Explanation, Line
from jobs.show import NARROW, as_object, console, escaped, plain, short
from jobs.store.invariants import Law
from jobs.watch import Watched


def laws(found: Sequence[Law], *, as_json: bool) -> None:
    """What `reconcile` says: by invariant each check, both its figures and the verdict; who breaks it, and how."""
    broken = sum(1 for law in found if law.broken)
    if as_json:
        objects = [plain(law) | {"invariant": law.invariant, "verdict": law.verdict} for law in found]
        print(as_object({"broken": broken, "laws": objects, "exit_code": 6 if broken else 0}))
        return
    out, width = console(NARROW), max(len(_side(side)) for law in found for side in (law.left, law.right))
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
        table.add_row("", escaped(law.name), _side(law.left), _side(law.right), verdict)
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
    console(NARROW).print(Padding(Text(text, overflow="fold"), (0, 0, 0, by)))


def _side(value: Decimal | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{Decimal(short(value)):,f}"


def explanation(told: Explanation, *, as_json: bool) -> None:
    """Every row of a user's month, and its sums beside the roll-up's."""
    if as_json:
        print(as_object({**plain(told), "agrees": told.agrees}))
        return
    out = console()
    heading = f"{told.user}, {told.month:%Y-%m} to {told.last}, {told.currency}, cost = {told.cost_mode!r}"
    out.print(heading, style="bold", markup=False)
    table = Table(box=None, pad_edge=False)
    for name in ("day", "cluster", "meter", "quantity", "from", "price", "charge", "because"):
        table.add_column(
            name, justify="right" if name in ("quantity", "from", "price", "charge") else "left", overflow="fold"
        )
    for line in told.lines:
        _rows_of(table, line)
    out.print(table)
    out.print(_sums(told))
    if not told.agrees:
        out.print("The roll-up differs: usage, prices or overrides have changed since the run that wrote it.")


def _rows_of(table: Table, line: Line) -> None:
    """A line per piece, the meter's charge on its last one, then the row's cost."""
    day, cluster = str(line.day), (line.cluster or "none")[:8]
    ends = {piece.meter: number for number, piece in enumerate(line.pieces)}
    for number, piece in enumerate(line.pieces):
        price = f"{short(piece.price)}/{piece.per}" if piece.per != 1 else short(piece.price)
        if piece.discount is not None:
            price += f" -{short(piece.discount)}%"
        charge = short(line.charges[piece.meter]) if ends[piece.meter] == number else ""
        figures = (short(piece.quantity), short(piece.tier_from), price, charge)
        table.add_row(day, cluster, piece.meter, *figures, escaped(piece.because))
        day = cluster = ""
    how = "cost, as recorded" if line.adjustment or line.recorded == line.cost else "cost"
    table.add_row(day, cluster, "", "", "", "", f"[bold]{short(line.cost)}[/]", how)
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
            table.add_row("", "", "", "", "", "", short(amount), kind)
    if not any(kinds.values()) and line.cost:
        table.add_row("", "", "", "", "", "", "0", f"({paid.mode})")


def _sums(told: Explanation) -> Table:
    table = Table(box=None, pad_edge=False, title="sums", title_justify="left")
    for name in ("column", "sum of the rows", "roll-up", ""):
        table.add_column(name, justify="left" if name == "column" else "right", overflow="fold")
    for name, value in told.sums.items():
        held = told.rollup.get(name)
        shown = "none" if held is None else short(held)
        table.add_row(
            name, "" if value is None else short(value), shown, "equal" if held == value else "[bold]differs[/]"
        )
    return table


def watched(found: Sequence[Watched], currency: str, *, as_json: bool) -> None:
    """The table of `watch`: each closed month as it closed and as it is now, and what mends those that changed."""
    changed = [month for month in found if month.changed]
    if as_json:
        months = [plain(month) | {"backfill": month.remedy if month.changed else None} for month in found]
        print(as_object({"months": months, "changed": len(changed), "exit_code": 6 if changed else 0}))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("closed month", "rows then", "now", f"{currency} then", "now", "user-months that differ"):
        table.add_column(heading, justify="left" if "month" in heading else "right", overflow="fold")
    for month in found:
        differ = ", ".join(f"{count:,} by {cause}" for cause, count in sorted(month.causes.items()))
        if month.missing:
            differ = f"not compared: no column {', '.join(month.missing)}"
        before = "" if month.total_before is None else short(month.total_before)
        rows = (f"{month.rows_before:,}", f"{month.rows_now:,}")
        table.add_row(f"{month.month:%Y-%m}", *rows, before, short(month.total_now), differ or "none")
    console().print(table if found else "no month is closed yet")
    for month in changed:
        print(f"{month.month:%Y-%m} changed upstream; to see what to do: {month.remedy} --dry-run")
    if lost := sorted({column for month in found for column in month.missing}):
        print(
            f"some months closed by columns of usage_daily that are gone, or that this role may not read "
            f"({', '.join(lost)}): they are not compared. A backfill computes them without these"
        )
    elif found and not changed:
        print("nothing has changed upstream")

"""What a person sees, or with --json a program: nothing is computed here."""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from jobs.model.report import CreditStory, Report
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.explain import Explanation, Line
    from jobs.store.database import Address
    from jobs.store.findings import Finding
    from jobs.store.laws import Law

WIDTH = 100


def as_object(value: Any) -> str:
    """One JSON object; amounts as strings, so that no reader makes floats of them."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return str(value)


def console(*, to_error: bool = False) -> Console:
    """A console of at most 100 columns; plain where nobody looks."""
    made = Console(stderr=to_error, highlight=False, soft_wrap=False)
    made.width = min(made.width, WIDTH) if made.is_terminal else WIDTH
    return made


@contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar on a terminal; elsewhere one line per stage, with the time since the start."""
    if sys.stderr.isatty():
        with _bar() as tell:
            yield tell
        return
    started, last = time.monotonic(), ""

    def tell_line(stage: str, _done: int, _of: int | None) -> None:
        nonlocal last
        if stage != last:
            print(f"usage-jobs: {time.monotonic() - started:6.1f} s  {stage}", file=sys.stderr, flush=True)
            last = stage

    yield tell_line


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int | None], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console(to_error=True), transient=True) as bar:
        task = bar.add_task("start", total=None)
        yield lambda stage, done, of: bar.update(task, description=stage, completed=done, total=of)


def report(report: Report, *, as_json: bool) -> None:
    """The closing summary of a run."""
    if as_json:
        print(as_object(report_object(report)))
        return
    out = console()
    what = "dry run, nothing written" if report.dry_run else f"run {report.run_id}"
    lines = {
        "window": f"{report.window_from} to {report.window_to}" + _closing(report),
        "rows read": f"{report.rows_read:,}",
        "rejected": f"{report.rows_rejected:,}" + (" (see rollup.rejects)" if report.rows_rejected else ""),
        "priced without a recorded cost": f"{report.unpriced:,}",
        "rows changed": f"{report.rows_changed:,}{_tables(report.changed)}",
        "total cost": f"{report.total_cost:,.10f} {report.currency}",
        **_credits(report.credits),
        "seconds": f"{sum(report.seconds.values()):.2f}: "
        + ", ".join(f"{name} {seconds:.2f}" for name, seconds in report.seconds.items()),
    }
    grid = Table.grid(padding=(0, 2))
    for name, value in lines.items():
        grid.add_row(f"  {name}", escaped(value))
    for note in report.notes:
        grid.add_row("  note", escaped(note))
    out.print(f"usage-jobs: {what}", style="bold")
    out.print(grid)


def _credits(story: CreditStory) -> dict[str, str]:
    """What happened to credits; nothing where nobody pays by them."""
    lines = {}
    if story.users_drawn:
        kinds = f"{_short(story.free)} free, {_short(story.purchased)} purchased"
        lines["credits booked"] = f"of {story.users_drawn:,} users: {kinds}"
        corrections = [
            f"{_short(entries.amount)} {word} on {entries.rows:,} rows"
            for word, entries in (("more", story.taken), ("given back", story.given_back))
            if entries.rows
        ]
        if story.reassigned:
            corrections.append(f"{story.reassigned:,} rows between free and purchased")
        lines["of it corrections"] = ", ".join(corrections) or "none"
    if story.credits_deducted or story.uncovered:
        ran_out = f", of {story.users_ran_out:,} users who ran out" if story.users_ran_out else ""
        lines["drawn in the window"] = f"{_short(story.credits_deducted)}; uncovered {_short(story.uncovered)}{ran_out}"
    if story.amount_due or story.amount_reported:
        lines["due"] = f"{_short(story.amount_due)}; reported elsewhere {_short(story.amount_reported)}"
    return lines


def report_object(report: Report) -> dict[str, Any]:
    """The object of ``run --json``."""
    fields = {f.name: getattr(report, f.name) for f in dataclasses.fields(report)}
    seconds = {name: round(value, 3) for name, value in report.seconds.items()}
    return fields | {"seconds": seconds, "rows_changed": report.rows_changed, "exit_code": report.exit_code}


def _closing(report: Report) -> str:
    closed = ", ".join(f"{month:%Y-%m}" for month in report.closed)
    return f", closes {closed}" if closed else ""


def _tables(changed: Mapping[str, int]) -> str:
    some = [f"{name} {count:,}" for name, count in changed.items() if count]
    return f" ({', '.join(some)})" if some else ""


def findings(found: "Sequence[Finding]", settings: Settings, address: "Address", *, as_json: bool) -> None:
    """The table of `check`."""
    if as_json:
        print(as_object({"address": repr(address), "settings": settings.source, "findings": list(found)}))
        return
    out = console()
    out.print(f"{address!r}, settings: {settings.source}, rates: {settings.rates}", markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "expected", "found", "consequence"):
        table.add_column(heading, overflow="fold")
    marks = {"ok": "ok", "note": "note", "refused": "[bold]REFUSED[/]", "unwritable": "[bold]REFUSED[/]"}
    for finding in found:
        cells = (finding.subject, finding.expected, finding.found, finding.consequence)
        table.add_row(marks[finding.level], *map(escaped, cells))
    out.print(table)


def laws(found: "Sequence[Law]", *, as_json: bool) -> None:
    """The table of `reconcile`: every law, both its figures, the verdict, the first culprits."""
    broken = sum(1 for law in found if law.broken)
    if as_json:
        objects = [_plain(law) | {"verdict": law.verdict} for law in found]
        print(as_object({"broken": broken, "laws": objects, "exit_code": 6 if broken else 0}))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("law", "one side", "other side", "verdict"):
        table.add_column(heading, justify="right" if "side" in heading else "left", overflow="fold")
    for law in found:
        verdict = f"[bold]BROKEN[/] by {law.broken:,}" if law.broken else law.verdict
        table.add_row(escaped(law.law), _side(law.left), _side(law.right), verdict)
        for text in (*law.culprits, *([law.note] if law.note else [])):
            table.add_row(escaped(f"    {text}"), "", "", "")
    console().print(table)
    judged = sum(1 for law in found if law.judged)
    print(f"{broken} of {judged} laws broken" if broken else f"all {judged} laws hold")


def _side(value: "Decimal | int | str") -> str:
    return value if isinstance(value, str) else f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"


def escaped(text: str) -> str:
    """Text that may hold brackets, shown as it is."""
    from rich.markup import escape

    return escape(text)


def schema(settings: Settings, *, applied: bool, as_json: bool) -> None:
    """The DDL, or that it has been applied."""
    from jobs.store.schema import script

    text = script(settings)
    if as_json:
        print(as_object({"schema": settings.rollup_schema, "applied": applied, "ddl": text}))
    elif applied:
        print(f"schema {settings.rollup_schema} is complete. Next: usage-jobs check, then usage-jobs run")
    else:
        print(text, end="")


def runs(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """The run log."""
    if as_json:
        print(as_object({"runs": list(rows)}))
        return
    table = Table(box=None, pad_edge=False)
    for heading in (
        "run",
        "kind",
        "status",
        "window",
        "started (UTC)",
        "seconds",
        "read",
        "rejected",
        "changed",
        "cost",
    ):
        table.add_column(
            heading,
            justify="right" if heading in ("seconds", "read", "rejected", "changed", "cost") else "left",
            overflow="fold",
        )
    for row in rows:
        ended = row["finished_at"]
        seconds = "" if ended is None else f"{(ended - row['started_at']).total_seconds():.1f}"
        cost = "" if row["total_cost"] is None else f"{row['total_cost']:,.2f}"
        figures = [
            "" if row[name] is None else f"{row[name]:,}" for name in ("rows_read", "rows_rejected", "rows_changed")
        ]
        window = f"{row['window_from']}…{row['window_to']:%m-%d}"
        started = f"{row['started_at']:%m-%d %H:%M:%S}"
        table.add_row(str(row["run_id"]), row["kind"], row["status"], window, started, seconds, *figures, cost)
    out = console()
    out.print(table)
    for row in rows:
        if row["error"]:
            out.print(f"run {row['run_id']}: {row['error']}", markup=False)


def explanation(told: "Explanation", *, as_json: bool) -> None:
    """Every row of a user's month, and its sums beside the roll-up's."""
    if as_json:
        print(as_object({**_plain(told), "agrees": told.agrees}))
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


def _rows_of(table: Table, line: "Line") -> None:
    """A line per piece, the meter's charge on its last one, then the row's cost."""
    day, cluster = str(line.day), (line.cluster or "none")[:8]
    ends = {piece.meter: number for number, piece in enumerate(line.pieces)}
    for number, piece in enumerate(line.pieces):
        price = f"{_short(piece.price)}/{piece.per}" if piece.per != 1 else _short(piece.price)
        if piece.discount is not None:
            price += f" -{_short(piece.discount)}%"
        charge = _short(line.charges[piece.meter]) if ends[piece.meter] == number else ""
        figures = (_short(piece.quantity), _short(piece.tier_from), price, charge)
        table.add_row(day, cluster, piece.meter, *figures, escaped(piece.because))
        day = cluster = ""
    how = "cost, as recorded" if line.adjustment or line.recorded == line.cost else "cost"
    table.add_row(day, cluster, "", "", "", "", f"[bold]{_short(line.cost)}[/]", how)
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
            table.add_row("", "", "", "", "", "", _short(amount), kind)
    if not any(kinds.values()) and line.cost:
        table.add_row("", "", "", "", "", "", "0", f"({paid.mode})")


def _sums(told: "Explanation") -> Table:
    table = Table(box=None, pad_edge=False, title="sums", title_justify="left")
    for name in ("column", "sum of the rows", "roll-up", ""):
        table.add_column(name, justify="left" if name == "column" else "right", overflow="fold")
    for name, value in told.sums.items():
        held = told.rollup.get(name)
        shown = "none" if held is None else _short(held)
        table.add_row(
            name, "" if value is None else _short(value), shown, "equal" if held == value else "[bold]differs[/]"
        )
    return table


def _short(value: Decimal | int) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text

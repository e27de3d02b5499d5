"""The output of most commands, as text or JSON; nothing is computed here."""

import dataclasses
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal, localcontext
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console
from rich.table import Table

from jobs.domain.run_report import CreditSummary, Report
from jobs.service import log
from jobs.settings import Settings

MOST_COLUMNS, COLUMNS_IN_A_PIPE = 140, 100
"""Columns that are used of a terminal at the most; and without a terminal, unless COLUMNS says otherwise."""


def to_json(value: Any) -> str:
    """``value`` as JSON; amounts are strings, so that no reader turns them into floats."""
    return json.dumps(value, default=to_plain, ensure_ascii=False)


def to_plain(value: Any) -> Any:
    """``value`` as a type that JSON has: amounts and dates become text, dataclasses become objects."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return str(value)


def make_console(*, to_error: bool = False) -> Console:
    """A console as wide as the terminal; without one, the output has no styles and no blanks at the ends of lines."""
    made = Console(stderr=to_error, highlight=False, soft_wrap=False)
    if made.is_terminal:
        made.width = min(made.width, MOST_COLUMNS)
    else:
        columns = os.environ.get("COLUMNS", "")
        made.width = int(columns) if columns.isdecimal() and int(columns) else COLUMNS_IN_A_PIPE
        made.file = cast("IO[str]", _Trimmed(made.file))
    return made


class _Trimmed(io.TextIOBase):
    """A text stream that writes each line to another one without the blanks at its end."""

    def __init__(self, to: IO[str]) -> None:
        self._to, self._line = to, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        self._to.write("".join(f"{line.rstrip(' ')}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        self._to.write(self._line)
        self._line = ""
        self._to.flush()


@contextmanager
def show_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yields a progress callback (stage, done, total): a bar on a terminal, elsewhere a log line per stage."""
    if sys.stderr.isatty():
        with _progress_bar() as update:
            yield update
    else:
        yield log.Stages()


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    # The remaining time is estimated from the finished batches of this stage, which are of similar size.
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn()),
    )
    with Progress(*columns, console=make_console(to_error=True), transient=True) as bar:
        task = bar.add_task("start", total=None)
        yield lambda stage, done, of: bar.update(task, description=stage, completed=done, total=of)


def print_report(report: Report, *, as_json: bool) -> None:
    """Prints the summary of a run."""
    if as_json:
        print(to_json(report_object(report)))
        return
    out = make_console()
    what = "dry run, nothing written" if report.dry_run else f"run {report.run_id}"
    lines = {
        "settings": report.settings_file,
        "rates": report.rates_file,
        "window": f"{report.window_from} to {report.window_to}" + _closing(report),
        "users recomputed": f"{report.users_recomputed:,} (rows read: {report.rows_read:,})",
        "rejected": f"{report.rows_rejected:,}" + (" (see rollup.rejects)" if report.rows_rejected else ""),
        "priced without a recorded cost": f"{report.unpriced:,}",
        "rows changed": f"{report.rows_changed:,}{_tables(report.changed)}",
        **_cost_lines(report),
        **_credit_lines(report.credits),
        "seconds": f"{sum(report.seconds.values()):.2f}: "
        + ", ".join(f"{name} {seconds:.2f}" for name, seconds in report.seconds.items()),
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(overflow="fold")  # a path has no spaces to wrap at
    for name, value in lines.items():
        grid.add_row(f"  {name}", escape(value))
    for note in report.notes:
        grid.add_row("  note", escape(note))
    out.print(f"usage-jobs: {what}", style="bold")
    out.print(grid)


def _cost_lines(report: Report) -> dict[str, str]:
    """The total cost and its parts, all with two decimals; the last part is what the others leave of the total."""
    total, credits = _cents(report.total_cost), report.credits
    parts = {word: _cents(part) for word, part in credits.parts.items() if part and word != credits.rest_because}
    if parts and (rest := total - sum(parts.values(), start=Decimal(0))):
        parts[credits.rest_because] = rest
    width = max(len(f"{amount:,f}") for amount in (total, *parts.values()))
    lines = {word: f"{amount:{width},f} {report.currency}" for word, amount in {"total cost": total, **parts}.items()}
    if credits.users_ran_out:
        lines["uncovered"] += f" ({count(credits.users_ran_out, 'user')} ran out of credit)"
    return {word if word == "total cost" else f"- {word}": line for word, line in lines.items()}


def _cents(amount: Decimal) -> Decimal:
    with localcontext(prec=80):
        return amount.quantize(Decimal("0.01"))


def count(number: int, noun: str) -> str:
    """A number and what it counts, such as 1 row or 2 rows."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _credit_lines(summary: CreditSummary) -> dict[str, str]:
    """The credits that the run has posted to the ledger; no lines if it has posted none."""
    lines = {}
    if summary.users_drawn:
        kinds = f"{short_amount(summary.free)} free, {short_amount(summary.purchased)} purchased"
        lines["credits posted"] = f"of {count(summary.users_drawn, 'user')}: {kinds}"
        corrections = [
            f"{short_amount(entries.amount)} {word} on {count(entries.rows, 'row')}"
            for word, entries in (("more", summary.taken), ("given back", summary.given_back))
            if entries.rows
        ]
        if summary.reassigned:
            corrections.append(f"{count(summary.reassigned, 'row')} between free and purchased")
        lines["including corrections"] = ", ".join(corrections) or "none"
    return lines


def report_object(report: Report) -> dict[str, Any]:
    """The JSON object of a run."""
    fields = {f.name: getattr(report, f.name) for f in dataclasses.fields(report)}
    seconds = {name: round(value, 3) for name, value in report.seconds.items()}
    return fields | {"seconds": seconds, "rows_changed": report.rows_changed, "exit_code": report.exit_code}


def _closing(report: Report) -> str:
    closed = ", ".join(f"{month:%Y-%m}" for month in report.closed)
    return f", closes {closed}" if closed else ""


def _tables(changed: Mapping[str, int]) -> str:
    some = [f"{name} {count:,}" for name, count in changed.items() if count]
    return f" ({', '.join(some)})" if some else ""


def escape(text: str) -> str:
    """``text`` for rich, with its brackets escaped."""
    from rich.markup import escape

    return escape(text)


def print_schema(settings: Settings, text: str, what: str, *, applied: bool, as_json: bool) -> None:
    """Prints the DDL ``text``; if it was ``applied``, a message that ``what`` is complete."""
    if as_json:
        print(to_json({"schema": settings.rollup_schema, "applied": applied, "ddl": text}))
    elif applied:
        named = f"schema {settings.rollup_schema}" if what == "schema" else what
        print(f"{named} is complete. Next: usage-jobs check, then usage-jobs run --dry-run")
    else:
        print(text, end="")


def print_reopened(month: date, number: int, *, as_json: bool) -> None:
    """Prints the result of `reopen`."""
    if as_json:
        print(to_json({"month": f"{month:%Y-%m}", "run_id": number}))
    else:
        print(f"{month:%Y-%m} is open again (run {number}): the next run covers it, and closes it when it is due")


def print_start_files(settings: Path, rates: Path, *, option: str, as_json: bool) -> None:
    """Prints the files that `init` has written and the next steps.

    ``option``: the --config option for the commands; empty if they find the settings file without it.
    """
    steps = [
        f"{settings}: fill in start, the first month to bill",
        f"{rates}: put your own prices there; these are examples",
        *(f"usage-jobs {command}{option}" for command in ("schema --apply", "check", "run --dry-run", "run")),
    ]
    if as_json:
        print(to_json({"written": [str(settings), str(rates)], "next": steps}))
    else:
        print("\n".join([f"wrote {settings} and {rates}. Next:", *(f"  {step}" for step in steps)]))


def print_runs(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Prints the run log."""
    if as_json:
        print(to_json({"runs": list(rows)}))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in (
        "run",
        "kind",
        "status",
        "window",
        "started (UTC)",
        "secs",
        "read",
        "rejected",
        "changed",
        "cost",
    ):
        table.add_column(
            heading,
            justify="right" if heading in ("secs", "read", "rejected", "changed", "cost") else "left",
            overflow="fold",
        )
    for row in rows:
        ended = row["finished_at"]
        seconds = "" if ended is None else f"{(ended - row['started_at']).total_seconds():.1f}"
        cost = "" if row["total_cost"] is None else f"{row['total_cost']:,.2f}"
        figures = [
            "" if row[name] is None else f"{row[name]:,}" for name in ("rows_read", "rows_rejected", "rows_changed")
        ]
        window = f"{row['window_from']:%Y-%m}…{row['window_to']}"
        started = f"{row['started_at']:%m-%d %H:%M:%S}"
        table.add_row(str(row["run_id"]), row["kind"], row["status"], window, started, seconds, *figures, cost)
    out = make_console()
    out.print(table)
    for who in sorted({row["who"] for row in rows if row["who"]}):
        numbers = ", ".join(str(row["run_id"]) for row in rows if row["who"] == who)
        out.print(f"by {who}: {numbers}", markup=False)
    for files in sorted({(row["settings_file"], row["rates_file"]) for row in rows if row["settings_file"]}):
        numbers = ", ".join(str(row["run_id"]) for row in rows if (row["settings_file"], row["rates_file"]) == files)
        out.print(f"settings: {files[0]}, rates: {files[1]}: {numbers}", markup=False)
    for row in rows:
        for text in (row["reason"], row["error"]):
            if text:
                out.print(f"run {row['run_id']}: {text}", markup=False)


def short_amount(value: Decimal | int) -> str:
    """An amount without trailing zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text

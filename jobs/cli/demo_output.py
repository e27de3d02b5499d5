"""The output of `demo`: the progress and reports of its runs, the roll-ups, and commands to try next."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.table import Table

from jobs.cli import output
from jobs.demo.demo import Outcome, Screen, run_demo
from jobs.domain.run_report import Report


def show_demo(directory: Path, users: int, days: int, *, as_json: bool) -> None:
    """Runs the demo in ``directory`` and prints its result."""

    def say(text: str) -> None:
        if not as_json:
            output.make_console(to_error=True).print(text, markup=False)

    def report(report: Report) -> None:
        if not as_json:
            output.print_report(report, as_json=False)

    outcome = run_demo(directory, users, days, Screen(say, output.show_progress, report))
    if as_json:
        runs = [output.report_object(each) for each in outcome.reports]
        found = {"directory": str(directory), "runs": runs, **outcome.tables, "next": outcome.commands}
        print(output.to_json(found))
    else:
        _print_tables(outcome)


def _print_tables(outcome: Outcome) -> None:
    out = output.make_console()
    for name, rows in outcome.tables.items():
        out.print(f"\nrollup.{name}" + (" (highest cost first)" if "monthly" in name else ""), style="bold")
        out.print(_table(rows))
    out.print("\nTry next:", style="bold")
    for command in outcome.commands:
        out.print(f"  {command}", markup=False, soft_wrap=True)


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name, justify="right" if isinstance(rows[0][name], Decimal | int) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(output.escape("" if value is None else str(value)) for value in row.values()))
    return table

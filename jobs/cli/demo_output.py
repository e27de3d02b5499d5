"""The output of `demo`: the progress and reports of its runs, the roll-ups, and commands to try next."""

import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.text import Text

from jobs.cli import output
from jobs.demo.demo import Outcome, Screen, run_demo
from jobs.domain.run_report import Report
from jobs.domain.wording import format_figure


def show_demo(directory: Path, users: int, days: int, *, as_json: bool) -> None:
    """Runs the demo in ``directory`` and prints its result."""

    def say(text: str) -> None:
        if not as_json:
            print(text, file=sys.stderr)

    def report(report: Report) -> None:
        if not as_json:
            output.print_report(report, as_json=False)

    outcome = run_demo(directory, users, days, Screen(say, output.show_progress, report))
    runs = [output.report_object(each) for each in outcome.reports]
    found = {"directory": str(directory), "runs": runs, **outcome.tables, "next": outcome.commands}
    output.print_result(found, _lines(outcome), as_json=as_json)


def _lines(outcome: Outcome) -> Iterator[str | Text]:
    currency = outcome.reports[-1].currency
    for name, rows in outcome.tables.items():
        yield ""
        yield output.bold(f"rollup.{name}" + (f" (in {currency}, highest cost first)" if "monthly" in name else ""))
        yield from _table(rows)
    yield ""
    yield output.bold("Try next:")
    yield from (f"  {command}" for command in outcome.commands)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    align = "".join(">" if isinstance(value, Decimal | int) else "<" for value in rows[0].values()) if rows else ""
    return (
        output.lay_out(align, [list(rows[0]), *(list(map(format_figure, row.values())) for row in rows)])
        if rows
        else []
    )

"""The output of `demo`: the progress and reports of its runs, the roll-ups, and commands to try next."""

import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.text import Text

from jobs.cli import output, run_output
from jobs.demo.demo import Outcome, run_demo
from jobs.domain.run_report import Report
from jobs.domain.wording import format_figure


def show_demo(directory: Path, users: int, days: int, *, as_json: bool) -> output.Result:
    """Runs the demo, with --json without a word before the result."""

    def show(shown: str | Report) -> None:
        if isinstance(shown, Report) and not as_json:
            output.print_result(run_output.describe_report(shown), as_json=False)
        elif not as_json:
            print(shown, file=sys.stderr)

    outcome = run_demo(directory, users, days, show, output.show_progress)
    runs = [run_output.report_object(each) for each in outcome.reports]
    found = {"directory": str(directory), "runs": runs, **outcome.tables, "next": outcome.commands}
    return output.Result(found, outcome_lines(outcome))  # the code is not 3, although the sample usage contains rejects


ORDERS = {"user_monthly": "highest cost first", "cluster_monthly": "by month, highest cost first"}
"""How the tables with amounts are sorted."""


def outcome_lines(outcome: Outcome) -> Iterator[str | Text]:
    currency = outcome.reports[-1].currency
    for name, rows in outcome.tables.items():
        yield ""
        yield output.bold(f"rollup.{name}" + (f" (in {currency}, {ORDERS[name]})" if name in ORDERS else ""))
        yield from _table(rows) if rows else ()
    yield ""
    yield output.bold("Try next:")
    yield from (f"  {command}" for command in outcome.commands)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    align = "".join(">" if isinstance(value, Decimal | int) else "<" for value in rows[0].values())
    return output.lay_out(align, [list(rows[0]), *(list(map(format_figure, row.values())) for row in rows)])

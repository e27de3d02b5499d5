"""`usage-jobs statement`: one page, or a folder with one for each user of the month."""

import argparse
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.cli import output
from jobs.cli.output import Result
from jobs.domain.errors import ConfigError, DataChangedError
from jobs.domain.wording import count, format_figure, name_some
from jobs.pipeline.output_files import check_folder, check_writable, replace_private
from jobs.postgres.conninfo import Address
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.cli.commands import CommandContext
    from jobs.reports.statement_files import StatementRequest, WrittenStatements


def check_statement(arguments: argparse.Namespace) -> None:
    """Raises ConfigError for options of `statement` that do not go together, and for a place that cannot be written."""
    out: Path | None = arguments.out
    if arguments.all:
        if out is None:
            raise ConfigError("--all: expected --out DIR with it: the folder for the statements")
        check_folder("--out", out)
        return
    check_writable("--out", out)
    if out is None and arguments.json:
        raise ConfigError("--json: expected --out FILE with it; standard output cannot hold page and object both")
    if out is None and arguments.format == "pdf":
        raise ConfigError("--format pdf: expected --out FILE with it, or --all --out DIR: a PDF is no text")


def statement(context: "CommandContext", settings: Settings, address: Address) -> Result:
    """`usage-jobs statement`: one page, or one for each user of the month."""
    from jobs.reports import statement_files

    arguments = context.arguments
    ending = arguments.out.suffix.lower() if arguments.out is not None and not arguments.all else ""
    form = arguments.format or ("pdf" if ending == ".pdf" else "html")
    request = statement_files.StatementRequest(
        arguments.month, arguments.user, arguments.out, form, not arguments.no_names
    )
    if arguments.all:
        with output.show_progress() as progress:
            return _describe_all(statement_files.write_all(settings, address, request, progress))
    return _write_one(settings, address, request)


def _write_one(settings: Settings, address: Address, request: "StatementRequest") -> Result:
    from jobs.reports.statement_files import make_one

    made, page, notes = make_one(settings, address, request)
    output.print_notes(notes)
    if request.out is None:
        return Result({}, [page.decode().removesuffix("\n")])
    replace_private(request.out, page)
    amounts = {name: getattr(made, name) for name in ("total", "due", "uncovered")}
    found: dict[str, Any] = {
        "path": str(request.out),
        "format": request.format,
        "user": made.user,
        "month": f"{made.month:%Y-%m}",
    }
    found |= {"last_day": made.last, "final": made.is_final, "currency": made.currency}
    found |= {name: amount and amount.rounded for name, amount in amounts.items()}
    state = "" if made.is_final else f", preliminary, up to {made.last}"
    total = f"{made.total.shown} {made.currency}"
    return Result(found | {"notes": notes}, [f"wrote {request.out}: {made.month:%Y-%m}, cost {total}{state}"])


def _describe_all(done: "WrittenStatements") -> Result:
    output.print_notes(done.notes)
    figures = ("total", "due", "uncovered")
    sums = {name: sum((getattr(each, name) or Decimal(0) for each in done.written), Decimal(0)) for name in figures}
    found: dict[str, Any] = {
        "path": str(done.index),
        "month": f"{done.month:%Y-%m}",
        "last_day": done.last,
        "final": done.is_final,
    }
    found |= {"statements": len(done.written), "refused": done.refused, "figures": sums, "notes": done.notes}
    state = "" if done.is_final else f", preliminary, up to {done.last}"
    lines = [f"wrote {count(len(done.written), 'statement')} of {done.month:%Y-%m}{state}; index: {done.index}"]
    if done.written:
        lines += [f"  {name} {format_figure(sums[name])} {done.written[0].currency}" for name in sums]
    if not done.refused:
        return Result(found, lines)
    lines.append(
        output.wrap(
            f"not written: {name_some(done.refused, 10)}. Usage or prices have changed since the last run. An open "
            "month: usage-jobs run, then try again. A closed month: usage-jobs watch names the backfill"
        )
    )
    return Result(found, lines, DataChangedError.exit_code)

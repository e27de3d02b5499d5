"""`usage-jobs statement`: one page, or a folder with one for each user of the month."""

from __future__ import annotations

from argparse import Namespace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.cli import output
from jobs.cli.command import Call, command
from jobs.cli.options import MONTH, NO_NAMES, flag, one_of, option, parse_file, parse_text
from jobs.cli.output import Result
from jobs.domain.errors import ConfigError, DataChangedError
from jobs.domain.wording import count, format_figure, name_some

if TYPE_CHECKING:
    from jobs.reports.statement import Statement
    from jobs.reports.statement_files import StatementRequest, WrittenStatements

FORMATS = ("html", "pdf")
_AMOUNTS = ("total", "due", "uncovered")


def _check_statement(arguments: Namespace) -> None:
    """Raises ConfigError for options of `statement` that do not go together, and for a place that cannot be written."""
    from jobs.pipeline.output_files import check_folder, check_writable

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


@command(
    "statement",
    "write a month's statement for a customer, or for all",
    "usage-jobs statement --user 'auth0|66a0' --month 2026-06 --out june.html",
    one_of(
        option("--user", "the user's id", parse_text, "ID"),
        flag("--all", "all users of the month, one file each, and an index"),
        required=True,
    ),
    MONTH,
    option("--out", "the file (default, and -: standard output); with --all the folder", parse_file, "PATH"),
    option("--format", "html or pdf (default: the ending of the file; else html)", str, "FORMAT", choices=FORMATS),
    NO_NAMES,
)
def statement(call: Call) -> Result:
    """Exit code 6 if the statement of a user could not be written."""
    from jobs.reports import statement_files

    arguments = call.arguments
    _check_statement(arguments)
    is_pdf = not arguments.all and arguments.out is not None and arguments.out.suffix.lower() == ".pdf"
    form = arguments.format or ("pdf" if is_pdf else "html")
    request = statement_files.StatementRequest(
        arguments.month, arguments.user, arguments.out, form, not arguments.no_names
    )
    if not arguments.all:
        return _write_one(call, request)
    settings, address = call.settings, call.address
    with output.show_progress() as progress:
        done = statement_files.write_all(settings, address, request, progress)
    return _describe_all(done)


def _write_one(call: Call, request: StatementRequest) -> Result:
    from jobs.pipeline.output_files import replace_private
    from jobs.reports.statement_files import make_one

    made, page, notes = make_one(call.settings, call.address, request)
    output.print_notes(notes)
    if request.out is None:
        return Result({}, [page.decode().removesuffix("\n")])
    replace_private(request.out, page)
    found: dict[str, Any] = {"path": str(request.out), "format": request.format, "user": made.user}
    found |= _describe_month(made) | {"currency": made.currency}
    amounts = {name: getattr(made, name) for name in _AMOUNTS}
    found |= {name: amount and amount.rounded for name, amount in amounts.items()} | {"notes": notes}
    total = f"{made.total.shown} {made.currency}"
    return Result(found, [f"wrote {request.out}: {made.month:%Y-%m}, cost {total}{_state(made)}"])


def _describe_all(done: WrittenStatements) -> Result:
    output.print_notes(done.notes)
    sums = {name: sum((getattr(each, name) or Decimal(0) for each in done.written), Decimal(0)) for name in _AMOUNTS}
    found = {"path": str(done.index)} | _describe_month(done)
    found |= {"statements": len(done.written), "refused": done.refused, "figures": sums, "notes": done.notes}
    lines = [f"wrote {count(len(done.written), 'statement')} of {done.month:%Y-%m}{_state(done)}; index: {done.index}"]
    if done.written:
        lines += [f"  {name} {format_figure(amount)} {done.written[0].currency}" for name, amount in sums.items()]
    if not done.refused:
        return Result(found, lines)
    refusal = (
        f"not written: {name_some(done.refused, 10)}. Usage or prices have changed since the last run. An open "
        "month: usage-jobs run, then try again. A closed month: usage-jobs watch names the backfill"
    )
    return Result(found, [*lines, output.wrap(refusal)], DataChangedError.exit_code)


def _describe_month(of: Statement | WrittenStatements) -> dict[str, Any]:
    return {"month": f"{of.month:%Y-%m}", "last_day": of.last, "final": of.is_final}


def _state(of: Statement | WrittenStatements) -> str:
    return "" if of.is_final else f", preliminary, up to {of.last}"

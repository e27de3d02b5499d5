"""`usage-jobs export`: the request, the file or standard output, and what is said of it."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

from jobs.cli import output
from jobs.cli.output import Result
from jobs.domain.errors import ConfigError
from jobs.domain.wording import count, format_figure
from jobs.pipeline.output_files import check_writable, replacing
from jobs.postgres.conninfo import Address
from jobs.reports.export_request import ExportRequest, check_request, choose_format
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.cli.commands import CommandContext
    from jobs.pipeline.run_request import Progress
    from jobs.reports.export import Exported
    from jobs.reports.focus import FocusFile

_SHOWN = ("total_cost", "change", "drawn", "BilledCost", "EffectiveCost")
"""Sums that are shown of a file that was written, where it has them."""


def export(context: "CommandContext", settings: Settings, address: Address) -> Result | None:
    """`usage-jobs export`. Returns no result where the rows themselves go to standard output."""
    request = _make_request(context.arguments)
    check_request(request)
    check_writable("--out", request.out)
    if request.out is None:
        with _show_progress(request) as progress:
            done = _write(settings, address, request, cast(IO[bytes], _StandardOutput()), progress)
        output.print_notes(done.notes)
        return None
    with output.show_progress() as progress, replacing(request.out) as file:
        done = _write(settings, address, request, file, progress)
    output.print_notes(done.notes)
    return _describe(request, done)


def _make_request(arguments: argparse.Namespace) -> ExportRequest:
    form = arguments.format
    if arguments.json and arguments.out is None:
        if form not in (None, "json"):
            raise ConfigError(
                f"--json: expected --out FILE with --format {form}; standard output cannot hold both. Give --out FILE, "
                "or --format json"
            )
        form = "json"
    form = choose_format(form, arguments.out)
    users, clusters = (None if ids is None else frozenset(ids) for ids in (arguments.user, arguments.cluster))
    by = arguments.by or ("" if form == "focus" else "user")
    first, last = arguments.month, arguments.to or arguments.month
    return ExportRequest(first, last, by, form, arguments.out, users, clusters, not arguments.no_names)


def _write(
    settings: Settings, address: Address, request: ExportRequest, file: IO[bytes], progress: "Progress"
) -> "Exported | FocusFile":
    if request.format == "focus":
        from jobs.reports.focus import export_focus

        return export_focus(settings, address, request, file, progress)
    from jobs.reports.export import export as write_export

    return write_export(settings, address, request, file, progress)


@contextmanager
def _show_progress(request: ExportRequest) -> Iterator["Progress"]:
    """Yields a progress callback that shows nothing where the rows themselves appear on the terminal."""
    if request.out is None and sys.stdout.isatty():
        yield lambda *_: None
    else:
        with output.show_progress() as progress:
            yield progress


class _StandardOutput:
    """Standard output as a file of bytes, which are UTF-8 whatever the terminal's encoding is."""

    def write(self, content: bytes) -> int:
        if (buffer := getattr(sys.stdout, "buffer", None)) is None:  # replaced by a stream of text
            return sys.stdout.write(content.decode())
        sys.stdout.flush()
        return int(buffer.write(content))


def _describe(request: ExportRequest, done: "Exported | FocusFile") -> Result:
    """The file that was written: its months, rows, and sums by currency."""
    found: dict[str, Any] = {"path": str(request.out), "by": request.by, "format": request.format}
    found |= {"months": done.months, "rows": done.rows, "figures": done.figures}
    found |= {"notes": done.notes}
    some = "" if request.last == request.first else f" to {request.last:%Y-%m}"
    lines = [f"wrote {request.out}: {count(done.rows, 'row')} of {request.first:%Y-%m}{some}"]
    for currency, figures in done.figures.items():
        money = {name: figures[name] for name in _SHOWN if name in figures}
        lines += [f"  {name} {format_figure(amount)} {currency}" for name, amount in money.items()]
    return Result(found, lines)

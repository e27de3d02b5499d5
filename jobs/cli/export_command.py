"""`usage-jobs export`: the request, the file or standard output, and what is said of it."""

from __future__ import annotations

import sys
from argparse import Namespace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, cast

from jobs.cli import output
from jobs.cli.command import Call, command
from jobs.cli.options import NO_NAMES, option, parse_cluster, parse_file, parse_month, parse_text
from jobs.cli.output import Result
from jobs.domain.errors import ConfigError
from jobs.domain.wording import count, format_figure
from jobs.reports.export_request import BY, FORMATS, ExportRequest, check_request, choose_format

if TYPE_CHECKING:
    from jobs.pipeline.run_request import Progress
    from jobs.postgres.conninfo import Address
    from jobs.reports.export import Exported
    from jobs.settings import Settings

_SHOWN = ("total_cost", "change", "drawn", "BilledCost", "EffectiveCost")
"""Sums that are shown of a file that was written, where it has them."""
_DEFAULT_FORMAT = "(default: the ending of FILE; without one csv)"


@command(
    "export",
    "write usage, cost, draws or corrections of months to a file",
    "usage-jobs export --month 2026-06 --by user,cluster --out june.xlsx",
    option("--month", "the month, or the first one", parse_month, required=True),
    option("--to", "the last month (default: --month)", parse_month),
    option("--by", f"what a row is: {', '.join(BY)} (default: user)", metavar="WHAT", choices=BY),
    option("--format", f"{', '.join(FORMATS)} {_DEFAULT_FORMAT}", metavar="FORMAT", choices=FORMATS),
    option("--out", "the file (default, and -: standard output)", parse_file),
    option("--user", "only this user's rows; repeatable", parse_text, "ID", action="append"),
    option("--cluster", "only usage of this cluster (none: without one); repeatable", parse_cluster, action="append"),
    NO_NAMES,
)
def export(call: Call) -> Result | None:
    """No result where the rows themselves go to standard output."""
    from jobs.pipeline.output_files import check_writable, replacing

    request = _make_request(call.arguments)
    check_request(request)
    check_writable("--out", request.out)
    write = partial(_write, call.settings, call.address, request)
    if request.out is None:
        # Where the rows appear on the terminal, a bar would stand among them.
        with output.show_progress(hidden=sys.stdout.isatty()) as progress:
            done = write(cast(IO[bytes], _StandardOutput()), progress)
    else:
        with output.show_progress() as progress, replacing(request.out) as file:
            done = write(file, progress)
    output.print_notes(done.notes)
    return None if request.out is None else _describe(request, done)


def _make_request(arguments: Namespace) -> ExportRequest:
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
    settings: Settings, address: Address, request: ExportRequest, file: IO[bytes], progress: Progress
) -> Exported:
    if request.format == "focus":
        from jobs.reports.focus import export_focus

        return export_focus(settings, address, request, file, progress)
    from jobs.reports import export

    return export.export(settings, address, request, file, progress)


class _StandardOutput:
    """Standard output as a file of bytes, which are UTF-8 whatever the terminal's encoding is."""

    def write(self, content: bytes) -> int:
        if (buffer := getattr(sys.stdout, "buffer", None)) is None:  # replaced by a stream of text
            return sys.stdout.write(content.decode())
        sys.stdout.flush()
        return int(buffer.write(content))


def _describe(request: ExportRequest, done: Exported) -> Result:
    """The file that was written: its months, rows, and sums by currency."""
    found: dict[str, Any] = {"path": str(request.out), "by": request.by, "format": request.format}
    found |= {"months": done.months, "rows": done.rows, "figures": done.figures, "notes": done.notes}
    some = "" if request.last == request.first else f" to {request.last:%Y-%m}"
    lines = [f"wrote {request.out}: {count(done.rows, 'row')} of {request.first:%Y-%m}{some}"]
    for currency, figures in done.figures.items():
        money = {name: figures[name] for name in _SHOWN if name in figures}
        lines += [f"  {name} {format_figure(amount)} {currency}" for name, amount in money.items()]
    return Result(found, lines)

"""`usage-jobs report`: the short form on the terminal, or a page."""

from pathlib import Path
from typing import TYPE_CHECKING

from jobs.cli.output import Result
from jobs.domain.errors import ConfigError
from jobs.pipeline.output_files import check_writable, replace_private
from jobs.postgres.conninfo import Address
from jobs.settings import Settings

if TYPE_CHECKING:
    from jobs.cli.commands import CommandContext

STANDARD_OUTPUT = Path("-")


def report(context: "CommandContext", settings: Settings, address: Address) -> Result:
    """`usage-jobs report`: a page with --out, else the short form."""
    from jobs.cli import month_report_output
    from jobs.reports import pages
    from jobs.reports.month_report import read_month_report

    arguments = context.arguments
    out: Path | None = arguments.out
    if out == STANDARD_OUTPUT and arguments.json:
        raise ConfigError("--json: expected --out FILE with it; standard output cannot hold page and object both")
    if out is not None:
        check_writable("--out", None if out == STANDARD_OUTPUT else out)
        pages.require_libraries()
    found = read_month_report(settings, address, arguments.month, names=not arguments.no_names)
    if out is None:
        return month_report_output.describe_report(found)
    from jobs.reports.report_page import render_report

    page = render_report(found, context.clock(), settings.reports.template)
    if out == STANDARD_OUTPUT:
        return Result({}, [page.removesuffix("\n")])
    replace_private(out, page.encode())
    return month_report_output.describe_page(found, out, len(page.encode()))

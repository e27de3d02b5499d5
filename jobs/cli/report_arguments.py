"""The parsers of the commands that write files: export, statement, report."""

from pathlib import Path
from typing import Any

from jobs.cli.options import add_command, parse_cluster, parse_month, parse_text
from jobs.reports.export_request import BY, FORMATS


def add_report_commands(commands: Any) -> None:
    """Adds the commands ``export``, ``statement`` and ``report``."""
    _add_export(commands)
    _add_statement(commands)
    _add_report(commands)


def _add_export(commands: Any) -> None:
    example = "usage-jobs export --month 2026-06 --by user,cluster --out june.xlsx"
    export = add_command(commands, "export", "write usage, cost, draws or corrections of months to a file", example)
    export.add_argument(
        "--month", required=True, type=parse_month, metavar="YYYY-MM", help="the month, or the first one"
    )
    export.add_argument("--to", type=parse_month, metavar="YYYY-MM", help="the last month (default: --month)")
    what = f"what a row is: {', '.join(BY)} (default: user)"
    export.add_argument("--by", choices=BY, metavar="WHAT", help=what)
    what = f"{', '.join(FORMATS)} (default: the ending of FILE; without one csv)"
    export.add_argument("--format", choices=FORMATS, metavar="FORMAT", help=what)
    export.add_argument("--out", type=_file, metavar="FILE", help="the file (default, and -: standard output)")
    for option, parse, what in (
        ("--user", parse_text, "only this user's rows; repeatable"),
        ("--cluster", parse_cluster, "only usage of this cluster (none: without one); repeatable"),
    ):
        export.add_argument(option, action="append", type=parse, metavar="ID", help=what)
    export.add_argument("--no-names", action="store_true", help="ids only: no names, no e-mail addresses")


def _add_statement(commands: Any) -> None:
    example = "usage-jobs statement --user 'auth0|66a0' --month 2026-06 --out june.html"
    statement = add_command(commands, "statement", "write a month's statement for a customer, or for all", example)
    whose = statement.add_mutually_exclusive_group(required=True)
    whose.add_argument("--user", type=parse_text, metavar="ID", help="the user's id")
    whose.add_argument("--all", action="store_true", help="all users of the month, one file each, and an index")
    statement.add_argument("--month", required=True, type=parse_month, metavar="YYYY-MM", help="the month")
    what = "the file (default, and -: standard output); with --all the folder"
    statement.add_argument("--out", type=_file, metavar="PATH", help=what)
    what = "html or pdf (default: the ending of the file; else html)"
    statement.add_argument("--format", choices=("html", "pdf"), metavar="FORMAT", help=what)
    statement.add_argument("--no-names", action="store_true", help="ids only: no names, no e-mail addresses")


def _file(text: str) -> Path | None:
    """The path of a file; None for -, which is standard output."""
    return None if text == "-" else Path(text)


def _add_report(commands: Any) -> None:
    example = "usage-jobs report --month 2026-06 --out june.html"
    report = add_command(commands, "report", "a month in figures, and what needs attention, for the operator", example)
    report.add_argument("--month", required=True, type=parse_month, metavar="YYYY-MM", help="the month")
    report.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write an HTML page (-: standard output); without it the short form is shown",
    )
    report.add_argument("--no-names", action="store_true", help="ids only: no names, no e-mail addresses")

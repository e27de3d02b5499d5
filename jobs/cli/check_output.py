"""The output of `check`: a short list of what is as expected, and a table of the rest."""

from collections.abc import Sequence

from rich.table import Table

from jobs.cli.output import escape, make_console, to_json
from jobs.postgres.catalog import SOURCES
from jobs.postgres.conninfo import Address
from jobs.postgres.findings import Finding
from jobs.settings import Settings


def print_findings(found: Sequence[Finding], settings: Settings, address: Address, *, as_json: bool) -> None:
    """Prints the findings of `check`."""
    if as_json:
        print(to_json({"address": repr(address), "settings": settings.source, "findings": list(found)}))
        return
    out = make_console()
    out.print(f"{address!r}, settings: {settings.source}, rates: {settings.rates}", markup=False)
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("", no_wrap=True, min_width=len("REFUSED"))
    for heading, share in {"what": 29, "expected": 14, "found": 16, "consequence": 17, "remedy": 17}.items():
        table.add_column(heading, overflow="fold", ratio=share)
    for finding in found:
        if finding.level != "ok":
            cells = (finding.subject, finding.expected, finding.found, finding.consequence, finding.remedy)
            table.add_row("note" if finding.level == "note" else "[bold]REFUSED[/]", *map(escape, cells))
    for subject, what in _summarize_ok(found).items():
        out.print(f"ok    {subject}: {what}", markup=False)
    if table.row_count:
        out.print(table)


def _summarize_ok(found: Sequence[Finding]) -> dict[str, str]:
    """What was found, by subject, of the findings with the level ok; columns are listed together by table."""
    by_table: dict[str, list[str]] = {}
    for finding in found:
        if finding.level == "ok":
            table, _, column = finding.subject.partition(".")
            is_column = table in SOURCES and " " not in column
            subject, what = (table, column) if is_column else (finding.subject, finding.found)
            by_table.setdefault(subject, []).append(what)
    return {subject: ", ".join(what) for subject, what in by_table.items()}

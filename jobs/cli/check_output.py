"""The output of `check`: a short list of what is as expected, and a table of the rest."""

from collections.abc import Sequence

from rich.console import Console
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
    for subject, what in _summarize_ok(found).items():
        out.print(f"ok    {subject}: {what}", markup=False)
    others = [finding for finding in found if finding.level != "ok"]
    for finding in others:
        _print_block(out, finding)
    refused = sum(1 for finding in others if finding.level != "note")
    out.print(f"\nrefused: {refused}" if refused else "\nready", style="bold")


def _print_block(out: Console, finding: Finding) -> None:
    """Prints one finding: what, what was found where what was expected, what follows, and what to do."""
    level = "note" if finding.level == "note" else "REFUSED"
    out.print(f"\n{level}  {finding.subject}", style="" if finding.level == "note" else "bold", markup=False)
    lines = {
        "expected": finding.expected,
        "found": finding.found,
        "so": finding.consequence,
        "do": finding.remedy,
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in lines.items():
        if text:
            table.add_row(f"  {name}", escape(text))
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

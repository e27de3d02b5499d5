"""The output of `check`: a short list of what is as expected, and a block for each other finding."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from jobs.cli.output import Result, bold, items, wrap
from jobs.postgres.catalog import SOURCES
from jobs.postgres.conninfo import Address
from jobs.postgres.findings import Finding
from jobs.settings import Settings


def describe_findings(found: Sequence[Finding], settings: Settings, address: Address) -> Result:
    result = {"address": repr(address), "settings": settings.source, "findings": list(found)}
    code = 5 if any(finding.level not in ("ok", "note") for finding in found) else 0
    return Result(result, _lines(found, settings, address), code)


def _lines(found: Sequence[Finding], settings: Settings, address: Address) -> Iterator[str | Text]:
    yield wrap(f"{address!r}, settings: {settings.source}, rates: {settings.rates}", rest="  ")
    for subject, what in _summarize_ok(found).items():
        yield wrap(f"{subject}: {what}", "ok    ", " " * 6)
    others = [finding for finding in found if finding.level != "ok"]
    for finding in others:
        note = finding.level == "note"
        yield ""
        yield f"note  {finding.subject}" if note else bold(f"REFUSED  {finding.subject}")
        texts = (finding.expected, finding.found, finding.consequence, finding.remedy)
        yield from items(dict(zip(("expected", "found", "so", "do"), texts, strict=True)))
    refused = sum(1 for finding in others if finding.level != "note")
    yield ""
    yield bold(f"refused: {refused}" if refused else "ready")


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

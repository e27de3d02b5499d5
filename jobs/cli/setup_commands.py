"""The commands to begin with: `demo`, `check`, `schema` and `init`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.cli import output, run_output
from jobs.cli.command import Call, command
from jobs.cli.options import flag, one_of, option, parse_count, parse_role
from jobs.cli.output import Bold, Result, items, wrap
from jobs.domain.run_report import Report
from jobs.domain.wording import format_figure

if TYPE_CHECKING:
    from jobs.demo.demo import Outcome
    from jobs.postgres.conninfo import Address
    from jobs.postgres.findings import Finding
    from jobs.settings import Settings

ORDERS = {"user_monthly": "highest cost first", "cluster_monthly": "by month, highest cost first"}
"""How the tables of `demo` with amounts are sorted."""


@command(
    "demo",
    "try it on an embedded PostgreSQL with sample usage",
    "usage-jobs demo",
    option("--users", "users to make up (default: %(default)s)", parse_count, default=200),
    option("--days", "days of usage, to yesterday (default: %(default)s)", parse_count, default=45),
    option("--dir", "its data directory", Path, "PATH", default=Path("usage-jobs-demo")),
)
def demo(call: Call) -> Result:
    """With --json without a word before the result."""
    from jobs.demo.demo import run_demo

    arguments = call.arguments

    def show(shown: str | Report) -> None:
        if isinstance(shown, Report) and not arguments.json:
            output.print_result(run_output.describe_report(shown), as_json=False)
        elif not arguments.json:
            print(shown, file=sys.stderr)

    outcome = run_demo(arguments.dir, arguments.users, arguments.days, show, output.show_progress)
    runs = [run_output.report_object(each) for each in outcome.reports]
    found = {"directory": str(arguments.dir), "runs": runs, **outcome.tables, "next": outcome.commands}
    return Result(found, outcome_lines(outcome))  # the code is not 3, although the sample usage contains rejects


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """The roll-ups of the demo, and commands to try next."""
    currency = outcome.reports[-1].currency
    for name, rows in outcome.tables.items():
        yield ""
        yield Bold(f"rollup.{name}" + (f" (in {currency}, {ORDERS[name]})" if name in ORDERS else ""))
        if rows:
            align = "".join(">" if isinstance(value, Decimal | int) else "<" for value in rows[0].values())
            yield from output.lay_out(align, [list(rows[0]), *(list(map(format_figure, row.values())) for row in rows)])
    yield ""
    yield Bold("Try next:")
    yield from (f"  {each}" for each in outcome.commands)


@command("check", "can the job do its work here? changes nothing", "usage-jobs check")
def check(call: Call) -> Result:
    """Exit code 5 if anything is refused."""
    from jobs.audit import check as audit

    found = audit.check(call.settings, call.address)
    result = {"address": repr(call.address), "settings": call.settings.source, "findings": found}
    code = 5 if any(finding.level not in ("ok", "note") for finding in found) else 0
    return Result(result, _finding_lines(found, call.settings, call.address), code)


def _finding_lines(found: Sequence[Finding], settings: Settings, address: Address) -> Iterator[str]:
    yield wrap(f"{address!r}, settings: {settings.source}, rates: {settings.rates}", rest="  ")
    for subject, what in _summarize_ok(found).items():
        yield wrap(f"{subject}: {what}", "ok    ", " " * 6)
    others = [finding for finding in found if finding.level != "ok"]
    for finding in others:
        note = finding.level == "note"
        yield ""
        yield f"note  {finding.subject}" if note else Bold(f"REFUSED  {finding.subject}")
        texts = (finding.expected, finding.found, finding.consequence, finding.remedy)
        yield from items(dict(zip(("expected", "found", "so", "do"), texts, strict=True)))
    refused = sum(1 for finding in others if finding.level != "note")
    yield ""
    yield Bold(f"refused: {refused}" if refused else "ready")


def _summarize_ok(found: Sequence[Finding]) -> dict[str, str]:
    """What was found, by subject, of the findings with the level ok; columns are listed together by table."""
    from jobs.postgres.catalog import SOURCES

    by_table: dict[str, list[str]] = {}
    for finding in found:
        if finding.level == "ok":
            table, _, column = finding.subject.partition(".")
            is_column = table in SOURCES and " " not in column
            subject, what = (table, column) if is_column else (finding.subject, finding.found)
            by_table.setdefault(subject, []).append(what)
    return {subject: ", ".join(what) for subject, what in by_table.items()}


@command(
    "schema",
    "print the DDL of the job's own tables",
    "usage-jobs schema --apply",
    flag("--apply", "run it; safe to repeat"),
    one_of(
        option("--role", "instead: a role that may do only what the job does", parse_role, "NAME"),
        flag("--user-view", "instead: a view of their own months for users"),
    ),
)
def schema(call: Call) -> Result:
    """The text, or with --apply that it is done."""
    from jobs.postgres.schema_script import apply_schema, print_role, print_schema

    role, with_view, applied = call.arguments.role, call.arguments.user_view, call.arguments.apply
    if applied:
        text = apply_schema(call.settings, call.address, role=role, with_view=with_view)
    elif role is not None:
        text = print_role(call.settings, call.address, role)
    else:
        text = print_schema(call.settings, with_view=with_view)
    name = call.settings.rollup_schema
    what = f"role {role}" if role else "the view" if with_view else f"schema {name}"
    done = f"{what} is complete. Next: usage-jobs check, then usage-jobs run --dry-run"
    found = {"schema": name, "applied": applied, "ddl": text}
    return Result(found, [done if applied else text.removesuffix("\n")])


@command(
    "init",
    "write settings.toml and rates.csv to start from",
    "usage-jobs init",
    option("dir", "where (default: here)", Path, "DIR", nargs="?", default=Path()),
)
def init(call: Call) -> Result:
    """The files and the next steps; these name the settings file where commands would not find it."""
    from jobs.settings import files

    settings, rates = files.write_start_files(call.arguments.dir)
    is_found = files.find_settings(Path.cwd()).samefile(settings)
    named = "" if is_found else f" --config {shlex.quote(str(settings))}"
    steps = [
        f"{settings}: fill in start, the first month to bill",
        f"{rates}: put your own prices there; these are examples",
        *(f"usage-jobs {each}{named}" for each in ("schema --apply", "check", "run --dry-run", "run")),
    ]
    lines = [f"wrote {settings} and {rates}. Next:", *(f"  {step}" for step in steps)]
    return Result({"written": [str(settings), str(rates)], "next": steps}, lines)

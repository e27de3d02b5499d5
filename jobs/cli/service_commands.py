"""`schedule`, the run log (`runs`), and the manual (`help`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jobs.cli.command import Call, command
from jobs.cli.options import option, parse_count
from jobs.cli.output import Result, lay_out, wrap
from jobs.docs import TOPICS, read_page
from jobs.domain.errors import StoppedError
from jobs.domain.wording import format_figure

WIDEST_PAGE = 100
"""Columns; longer lines of the manual are hard to read."""


@command("schedule", "stay up and run on the cron in the settings", "usage-jobs schedule")
def schedule(call: Call) -> None:
    """Ends with a signal; an error only while a job was at work."""
    from jobs.service import health_endpoint, nightly, scheduler

    daemon = nightly.Daemon(call.settings, call.address, call.clock, call.scrub, call.who)
    entries = scheduler.Schedule(daemon.entries(), daemon.clock)
    with health_endpoint.serve_health(call.settings.schedule.listen, daemon.health, daemon.metrics.text):
        try:
            entries.serve(daemon.update_health)
        except (StoppedError, KeyboardInterrupt):
            if daemon.is_working:
                raise


@command(
    "runs",
    "the run log, newest first",
    "usage-jobs runs --limit 5",
    option("--limit", "how many (default: %(default)s)", parse_count, default=20),
)
def runs(call: Call) -> Result:
    """The last runs of every kind."""
    from jobs.postgres.run_log import read_runs

    return describe_runs(call.query(read_runs, call.arguments.limit))


def describe_runs(rows: Sequence[Mapping[str, Any]]) -> Result:
    """A row for each run; then who and which files ran them, and their reasons and errors."""
    return Result({"runs": rows}, _run_lines(rows))


def _run_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    table = [["run", "kind", "status", "days", "start (UTC)", "secs", "read", "rejected", "changed", "cost"]]
    remarks: dict[str, list[str]] = {}
    for row in rows:
        figures = [row[name] for name in ("rows_read", "rows_rejected", "rows_changed", "total_cost")]
        seconds = row["finished_at"] and f"{(row['finished_at'] - row['started_at']).total_seconds():.1f}"
        days = f"{row['window_from']:%Y-%m} to {row['window_to']}"
        words = [str(row["run_id"]), row["kind"], row["status"], days, f"{row['started_at']:%m-%d %H:%M}"]
        table.append([*words, *map(format_figure, (seconds, *figures))])
        who = row["who"] and f"by {row['who']}"
        files = row["settings_file"] and f"settings: {row['settings_file']}, rates: {row['rates_file']}"
        for remark in filter(None, (who, files)):
            remarks.setdefault(remark, []).append(str(row["run_id"]))
    yield from lay_out("<<<<<>>>>>", table)
    yield from (wrap(f"{remark}: {', '.join(numbers)}", rest="  ") for remark, numbers in sorted(remarks.items()))
    for row in rows:
        for text in filter(None, (row["reason"], row["error"])):
            yield wrap(f"run {row['run_id']}: {text}", rest="  ")


@command(
    "help",
    "show the manual",
    "usage-jobs help credits",
    option("topic", f"one of: {', '.join(TOPICS)}", metavar="TOPIC", choices=TOPICS, nargs="?"),
)
def show_manual(call: Call) -> Result | None:
    """A page as Markdown, or without a topic a list of all; on a terminal the page is rendered and paged."""
    topic = call.arguments.topic
    if topic and not call.arguments.json and sys.stdout.isatty():
        _show_page(read_page(topic))
        return None
    pages = {name: read_page(name) for name in ((topic,) if topic else TOPICS)}
    return Result({"pages": pages}, [pages[topic].removesuffix("\n")] if topic else _topics(pages))


def _topics(pages: Mapping[str, str]) -> Iterator[str]:
    """Yields the name of each page and its title."""
    width = max(map(len, pages))
    yield "The manual:"
    for name, page in pages.items():
        yield f"  usage-jobs help {name:{width}}  {page.splitlines()[0].removeprefix('# ')}"
    yield ""
    yield "Options of one command: usage-jobs COMMAND --help"


def _show_page(text: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    # less shows colours, keeps what it showed, and ends by itself where all fits on the screen.
    os.environ.setdefault("LESS", "-RFX")
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST_PAGE)
    with console.pager(styles=not console.no_color):
        console.print(Markdown(text, hyperlinks=False))

"""The output of `help`: the manual's pages, rendered and paged on a terminal, as Markdown text elsewhere."""

import os
import sys

from rich.console import Console
from rich.markdown import Markdown

from jobs.cli.output import to_json
from jobs.docs import TOPICS, read_page

WIDEST = 100
"""Columns; longer lines are hard to read."""


def print_help(topic: str | None, *, as_json: bool) -> None:
    """Shows the page of ``topic``; without one, lists all pages."""
    if as_json:
        pages = {name: read_page(name) for name in ((topic,) if topic else TOPICS)}
        print(to_json({"pages": pages}))
    elif topic is None:
        print(_topics())
    elif sys.stdout.isatty():
        _page(read_page(topic))
    else:
        print(read_page(topic), end="")


def _topics() -> str:
    width = max(map(len, TOPICS))
    lines = [f"  usage-jobs help {name:{width}}  {_title(read_page(name))}" for name in TOPICS]
    return "\n".join(["The manual:", *lines, "", "Options of one command: usage-jobs COMMAND --help"])


def _title(page: str) -> str:
    return page.partition("\n")[0].removeprefix("# ")


def _page(text: str) -> None:
    # less shows colours, keeps what it showed, and ends by itself where all fits on the screen.
    os.environ.setdefault("LESS", "-RFX")
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    with console.pager(styles=not console.no_color):
        console.print(Markdown(text, hyperlinks=False))

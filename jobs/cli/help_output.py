"""The output of `help`: the manual's pages, rendered and paged on a terminal, as Markdown text elsewhere."""

import os
import sys
from collections.abc import Iterator, Mapping

from jobs.cli.output import Result
from jobs.docs import TOPICS, read_page

WIDEST = 100
"""Columns; longer lines are hard to read."""


def describe_help(topic: str | None, *, as_json: bool) -> Result | None:
    """The page of ``topic``, or without one a list of all pages; None if a terminal has shown it already."""
    if topic and not as_json and sys.stdout.isatty():
        _page(read_page(topic))
        return None
    pages = {name: read_page(name) for name in ((topic,) if topic else TOPICS)}
    lines = [pages[topic].removesuffix("\n")] if topic else _topics(pages)
    return Result({"pages": pages}, lines)


def _topics(pages: Mapping[str, str]) -> Iterator[str]:
    """Yields the name of each page and its title."""
    width = max(map(len, pages))
    yield "The manual:"
    for name, page in pages.items():
        yield f"  usage-jobs help {name:{width}}  {page.splitlines()[0].removeprefix('# ')}"
    yield ""
    yield "Options of one command: usage-jobs COMMAND --help"


def _page(text: str) -> None:
    from rich.console import Console
    from rich.markdown import Markdown  # slow to import

    # less shows colours, keeps what it showed, and ends by itself where all fits on the screen.
    os.environ.setdefault("LESS", "-RFX")
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    with console.pager(styles=not console.no_color):
        console.print(Markdown(text, hyperlinks=False))

"""What all commands print their results with: text, or one JSON object.

Text is laid out for the width of the terminal, or for COLUMNS. No number, identifier or other word is ever folded: a
row that is too wide takes a second line, and an id longer than the terminal stays in one piece.
"""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

COLUMNS_IN_A_PIPE, WIDEST_TEXT = 100, 140
"""Columns without a terminal and without COLUMNS; and the most that sentences use: longer lines are hard to read."""


class Bold(str):
    """A line that is bold on a terminal."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What a command has to say: an object for --json, or ``lines``; and its exit code."""

    found: Mapping[str, Any]
    lines: Iterable[str]
    code: int = 0


def print_result(result: Result, *, as_json: bool) -> None:
    """Prints the object as JSON, or else the lines, as they are."""
    if as_json:
        print(to_json(result.found))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for line in result.lines:
        if isinstance(line, Bold):
            console.print(Text(line, style="bold"), soft_wrap=True)
        else:
            print(line)


def print_notes(notes: Iterable[str]) -> None:
    """Prints what a reader of a file must know, on standard error."""
    for note in notes:
        print(f"usage-jobs: note: {note}", file=sys.stderr)


def to_json(value: Any) -> str:
    """``value`` as JSON; amounts are strings, so that no reader turns them into floats."""
    return json.dumps(value, default=to_plain, ensure_ascii=False)


def to_plain(value: Any) -> Any:
    """``value`` as a type that JSON has: amounts and dates become text, dataclasses become objects."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, date | datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    return str(value)


def _columns() -> int:
    return shutil.get_terminal_size((COLUMNS_IN_A_PIPE, 0)).columns


def wrap(text: str, first: str = "", rest: str = "") -> str:
    """``text`` in lines of whole words: ``first`` begins its first line, ``rest`` the others."""
    width = min(_columns(), WIDEST_TEXT)
    wrapper = textwrap.TextWrapper(width, first, rest, break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(text)


def items(texts: Mapping[str, str], width: int = 0) -> Iterator[str]:
    """Yields each name, in a column of that ``width`` at least, beside its text; nothing for an empty text."""
    width = max(width, *map(len, texts))
    for name, text in texts.items():
        if text:
            yield wrap(text, f"  {name:{width}}  ", " " * (width + 4))


def lay_out(align: str, rows: Sequence[Sequence[str]], indent: int = 0) -> list[str]:
    """The text of each row of a table.

    ``align``: < or > for each column: words to the left, figures to the right. If a row is too wide for the terminal,
    the words of every row have a line of their own above the figures.
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str], sides: str, by: int) -> str:
        blanks = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = zip(row, blanks, align, strict=True)
        texts = (blank + cell if side == ">" else cell + blank for cell, blank, side in cells if side in sides)
        return (" " * by + "  ".join(filter(None, texts))).rstrip()

    def fits(sides: str) -> bool:
        return max(cell_len(line(row, sides, indent)) for row in rows) <= _columns()

    if fits("<>"):
        return [line(row, "<>", indent) for row in rows]
    words = [line(row, "<", indent) for row in rows]
    if not fits("<"):
        texts = ((cell for cell, side in zip(row, align, strict=True) if cell and side == "<") for row in rows)
        words = [wrap("  ".join(text), " " * indent, " " * (indent + 4)) for text in texts]
    figures = [line(row, ">", indent + 2) for row in rows]
    return ["\n".join(filter(str.strip, both)) for both in zip(words, figures, strict=True)]


@contextmanager
def show_progress(*, hidden: bool = False) -> Iterator[Callable[[str, int, int | None], None]]:
    """Yields a progress callback (stage, done, total): a bar on a terminal, elsewhere a log line per stage."""
    if hidden:
        yield lambda _stage, _done, _of: None
        return
    if not sys.stderr.isatty():
        from jobs.service import log

        yield log.Stages()
        return
    from rich import progress as rich
    from rich.console import Console

    # The remaining time is estimated from the finished batches of this stage, which are of similar size.
    times = (rich.TimeElapsedColumn(), "left", rich.TimeRemainingColumn())
    columns = ("{task.description}", rich.BarColumn(), rich.MofNCompleteColumn(), *times)
    with rich.Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bar:
        task = bar.add_task("start", total=None)
        yield lambda stage, done, of: bar.update(task, description=stage, completed=done, total=of)

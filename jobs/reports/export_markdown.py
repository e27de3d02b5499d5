"""Exports as Markdown: a table to be read, with aligned columns and totals."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import IO, Any

import polars as pl
from rich.cells import cell_len

from jobs.domain.wording import format_value
from jobs.postgres.export_kinds import ExportColumn
from jobs.reports.export_table import ExportTable, Totals
from jobs.reports.export_text import Write

MOST_ROWS = 10_000
"""More rows than that nobody reads, and they are held in memory."""
_ESCAPES = str.maketrans({char: f"\\{char}" for char in "\\`*_[]|~"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_INVISIBLE = ("Cc", "Cf", "Zl", "Zp")
"""Categories of characters that a terminal would obey, or that would change the order of what stands beside them."""


@contextmanager
def open_markdown(file: IO[bytes], table: ExportTable) -> Iterator[Write]:
    """Yields a function that takes rows; the table is written at the end, to the Markdown ``file``."""
    blocks: list[pl.DataFrame] = []
    yield blocks.append
    file.write("".join(f"{line}\n" for line in _lines(table, pl.concat(blocks))).encode())


def _lines(table: ExportTable, rows: pl.DataFrame) -> Iterator[str]:
    empty = [c for c in table.columns if (c.is_amount or c.values == "count") and not (rows[c.name] != 0).any()]
    shown = [column for column in table.columns if column not in empty or rows.is_empty()]
    totals = Totals(shown)
    totals.add(rows)
    header = [table.header(column) for column in shown]
    body = [[_cell(value) for value in row] for row in rows.select(c.name for c in shown).iter_rows()]
    ends = [_total(shown, currency, figures) for currency, figures in totals.by_currency().items()]
    yield from _lay_out(shown, [header, *body, *ends])
    if empty and not rows.is_empty():
        yield f"\n0 in every row: {', '.join(table.header(column) for column in empty)}."
    yield from (f"\n{escape(note)}." for note in table.notes)


def _total(columns: Sequence[ExportColumn], currency: str, figures: Mapping[str, Any]) -> list[str]:
    cells = [f"**{_cell(figures[c.name])}**" if c.name in figures else "" for c in columns]
    cells[0] = "**total**"
    return [f"**{currency}**" if c.name == "currency" else cell for c, cell in zip(columns, cells, strict=True)]


def _lay_out(columns: Sequence[ExportColumn], rows: list[list[str]]) -> Iterator[str]:
    widths = [max(3, *map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    right = [column.is_amount or column.values == "count" for column in columns]
    for number, row in enumerate(rows):
        cells = []
        for cell, width, is_right in zip(row, widths, right, strict=True):
            blank = " " * (width - cell_len(cell))
            cells.append(blank + cell if is_right else cell + blank)
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            lines = ("-" * (width - is_right) + ":" * is_right for width, is_right in zip(widths, right, strict=True))
            yield f"| {' | '.join(lines)} |"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format_value(value) if isinstance(value, int | Decimal) else escape(str(value))


def escape(text: str) -> str:
    """Returns ``text`` so that Markdown shows it as it is, in one line; invisible characters by their number."""
    shown = "".join(
        f"U+{ord(char):04X}" if unicodedata.category(char) in _INVISIBLE and char != "\n" else char for char in text
    )
    return shown.translate(_ESCAPES).replace("\n", " ")

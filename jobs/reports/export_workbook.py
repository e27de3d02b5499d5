"""Exports as XLSX: number cells of 15 digits, totals that are formulas, and a second sheet with units and notes."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import IO, Any

import polars as pl

from jobs.postgres.export_kinds import ExportColumn
from jobs.reports.export_table import ExportTable, Totals
from jobs.reports.export_text import Write

MOST_ROWS = 100_000
LONGEST_TEXT = 32_767
"""Characters that a cell takes."""
_WIDEST = 60
_QUANTITY = "#,##0.00"


@contextmanager
def open_workbook(file: IO[bytes], table: ExportTable, scale: int) -> Iterator[Write]:
    """Yields a function that appends rows to the XLSX ``file``. ``scale``: the decimals that amounts are shown with.

    No text becomes a formula or a link: it is written as text.
    """
    import xlsxwriter

    # constant_memory: rows go to a temporary file at once, which an interrupted command must not leave behind.
    with TemporaryDirectory(prefix="usage-jobs-") as folder:
        options = {"constant_memory": True, "tmpdir": folder, "strings_to_formulas": False, "strings_to_urls": False}
        with xlsxwriter.Workbook(file, options) as book:
            sheet = _Sheet(book, table, scale)
            yield sheet.write
            sheet.finish()
            _write_notes(book, table)


class _Sheet:
    """The sheet with the rows of a table."""

    def __init__(self, book: Any, table: ExportTable, scale: int) -> None:
        self._table = table
        self._sheet = book.add_worksheet(table.by)
        self._totals = Totals(table.columns)
        self._bold = book.add_format({"bold": True})
        self._date = book.add_format({"num_format": "yyyy-mm-dd"})
        self._quantity = {bold: book.add_format({"num_format": _QUANTITY, "bold": bold}) for bold in (False, True)}
        digits = f"#,##0.{'0' * scale}" if scale else "#,##0"
        self._money = {
            (currency, bold): book.add_format({"num_format": f'{digits} "{currency}"', "bold": bold})
            for currency in table.currencies
            for bold in (False, True)
        }
        self._row = 1
        self._begin()

    def _begin(self) -> None:
        for place, column in enumerate(self._table.columns):
            self._sheet.write_string(0, place, column.name, self._bold)
            width = {"text": 20, "date": 11, "money": 16, "moment": 27}.get(column.values, 12)
            self._sheet.set_column(place, place, min(max(width, len(column.name) + 4), _WIDEST))
        self._sheet.freeze_panes(1, 0)

    def write(self, rows: pl.DataFrame) -> None:
        """Appends rows."""
        self._totals.add(rows)
        currency = rows.get_column_index("currency")
        for row in rows.iter_rows():
            for place, (column, value) in enumerate(zip(self._table.columns, row, strict=True)):
                if value is not None:
                    self._write_cell(place, column, value, row[currency])
            self._row += 1

    def _write_cell(self, place: int, column: ExportColumn, value: Any, currency: str) -> None:
        if isinstance(value, Decimal):
            form = self._money[currency, False] if column.values == "money" else self._quantity[False]
            self._sheet.write_number(self._row, place, float(value), form)
        elif isinstance(value, bool):
            self._sheet.write_boolean(self._row, place, value)
        elif isinstance(value, int):
            self._sheet.write_number(self._row, place, value)
        elif isinstance(value, date):
            self._sheet.write_datetime(self._row, place, value, self._date)
        else:
            self._sheet.write_string(self._row, place, value[:LONGEST_TEXT])

    def finish(self) -> None:
        """Writes the totals, one row per currency, and the filter over the rows above them."""
        last, columns = self._row - 1, self._table.columns
        self._sheet.autofilter(0, 0, max(last, 1), len(columns) - 1)
        for currency, figures in self._totals.by_currency().items():
            # An empty row keeps the totals out of the filter, and out of what is sorted.
            self._row += 1
            self._sheet.write_string(self._row, 0, f"total {currency}", self._bold)
            for place, column in enumerate(columns):
                if column.name in figures:
                    self._write_total(place, column, currency, figures[column.name], last)

    def _write_total(self, place: int, column: ExportColumn, currency: str, figure: Any, last: int) -> None:
        from xlsxwriter.utility import xl_range_abs

        summed, formula = xl_range_abs(1, place, last, place), "=SUM({})"
        if len(self._table.currencies) > 1:
            currencies = [each.name for each in self._table.columns].index("currency")
            formula = f'=SUMIF({xl_range_abs(1, currencies, last, currencies)},"{currency}",{{}})'
        form = {"money": self._money[currency, True], "quantity": self._quantity[True]}.get(column.values, self._bold)
        # The value, for programs that show a file without computing it.
        self._sheet.write_formula(self._row, place, formula.format(summed), form, float(figure))


def _write_notes(book: Any, table: ExportTable) -> None:
    """Adds the sheet of units, months and notes."""
    sheet, bold = book.add_worksheet("notes"), book.add_format({"bold": True})
    described = table.describe()
    lines: list[tuple[str, ...]] = [("column", "unit")]
    lines += [(column["name"], column.get("unit", "")) for column in described["columns"]]
    lines += [(), ("month", "currency", "state")]
    lines += [(of["month"], of["currency"], "closed" if of["closed"] else "open") for of in described["months"]]
    lines += [(), *((note,) for note in table.notes)]
    for row, line in enumerate(lines):
        for place, text in enumerate(line):
            sheet.write_string(
                row, place, text, bold if line in (("column", "unit"), ("month", "currency", "state")) else None
            )
    sheet.set_column(0, 2, 28)

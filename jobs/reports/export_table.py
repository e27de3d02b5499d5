"""What every format of an export has in common: columns with units, rows as frames, sums of rows, and notes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from io import BytesIO
from typing import Any

import polars as pl

from jobs.domain.fixed_point import PLACES, unscaled
from jobs.domain.schemas import Schema
from jobs.postgres.export_kinds import CURRENCY, ExportColumn
from jobs.postgres.export_queries import MonthOfExport
from jobs.postgres.table_io import parse_block

AMOUNT = pl.Decimal(38, PLACES)
_TYPES: Schema = {"date": pl.Date, "count": pl.Int64, "quantity": AMOUNT, "money": AMOUNT, "boolean": pl.Boolean}


@dataclass(frozen=True, slots=True)
class ExportTable:
    """The table of a file: what a row is, its columns, its months, and what a reader must know of it."""

    by: str
    columns: tuple[ExportColumn, ...]
    months: tuple[MonthOfExport, ...]
    notes: tuple[str, ...] = ()

    @property
    def currencies(self) -> list[str]:
        """The currencies of its months, in the order of the months."""
        return list(dict.fromkeys(month.currency for month in self.months))

    def unit(self, column: ExportColumn) -> str:
        """The unit of a column; of an amount the currency, or the word where rows have several."""
        has_one = column.unit == CURRENCY and len(self.currencies) == 1
        return self.currencies[0] if has_one else column.unit

    def header(self, column: ExportColumn) -> str:
        """The name of a column with its unit."""
        unit = self.unit(column)
        return f"{column.name} [{unit}]" if unit else column.name

    def describe(self) -> dict[str, Any]:
        """What a reader must know beside the rows, as plain values."""
        columns = [
            {"name": column.name, "values": column.values} | ({"unit": unit} if (unit := self.unit(column)) else {})
            for column in self.columns
        ]
        months = [{"month": f"{of.month:%Y-%m}", "currency": of.currency, "closed": of.is_closed} for of in self.months]
        return {"by": self.by, "months": months, "notes": list(self.notes), "columns": columns}

    def parse(self, block: BytesIO) -> pl.DataFrame:
        """Returns rows that the database has sent: amounts as decimals, moments as text."""
        return parse_block(block, {column.name: _TYPES.get(column.values, pl.String) for column in self.columns})


@dataclass(slots=True)
class Totals:
    """The number of rows of an export, and by currency the sums of the columns that add up."""

    columns: Sequence[ExportColumn]
    rows: int = 0
    _units: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, rows: pl.DataFrame) -> None:
        """Adds the rows of a block."""
        self.rows += rows.height
        summed = [column for column in self.columns if column.adds_up]
        # As integers: Python's decimals have 28 digits, which is less than a sum may have.
        units = (pl.col(c.name).to_physical().cast(pl.Int128).sum() for c in summed)
        for row in rows.group_by("currency", maintain_order=True).agg(*units).iter_rows(named=True):
            of = self._units.setdefault(row["currency"], dict.fromkeys((c.name for c in summed), 0))
            for column in summed:
                of[column.name] += row[column.name]

    def figures(self, currency: str) -> Mapping[str, Decimal | int]:
        """The sums of the rows in that currency, by column."""
        found = self._units.get(currency, {})
        kinds = {column.name: column for column in self.columns}
        return {name: unscaled(units) if kinds[name].is_amount else units for name, units in found.items()}

    def by_currency(self) -> dict[str, Mapping[str, Decimal | int]]:
        return {currency: self.figures(currency) for currency in self._units}

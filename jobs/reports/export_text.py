"""Exports as CSV, JSON and Parquet: written block by block, so that their memory does not grow with their rows."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import polars as pl

from jobs.domain.fixed_point import PLACES
from jobs.reports.export_table import ExportTable

Write = Callable[[pl.DataFrame], None]
FORMULA = "^[=+\\-@\t\r]"
"""How a text begins that a spreadsheet would take for a formula."""


def guard_texts(table: ExportTable) -> list[pl.Expr]:
    """Returns the texts with a ' before what a spreadsheet would take for a formula."""
    return [
        pl.when(text.str.contains(FORMULA)).then(pl.concat_str(pl.lit("'"), text)).otherwise(text).alias(name)
        for name, text in ((column.name, pl.col(column.name)) for column in table.columns if column.values == "text")
    ]


def amounts_as_text(table: ExportTable) -> list[pl.Expr]:
    """Returns the amounts as text: exact, without an exponent and without zeros at the end."""
    return [
        pl.col(column.name).cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
        for column in table.columns
        if column.is_amount
    ]


@contextmanager
def open_csv(file: IO[bytes], table: ExportTable) -> Iterator[Write]:
    """Yields a function that appends rows to the CSV ``file``: UTF-8, the unit of each column in the header."""

    def write(rows: pl.DataFrame) -> None:
        file.write(rows.with_columns(*amounts, *texts).write_csv(include_header=False).encode())

    amounts, texts = amounts_as_text(table), guard_texts(table)
    file.write(pl.DataFrame(schema=[table.header(column) for column in table.columns]).write_csv().encode())
    yield write


@contextmanager
def open_json(file: IO[bytes], table: ExportTable) -> Iterator[Write]:
    """Yields a function that appends rows to the JSON ``file``: one object, whose amounts are strings."""
    begun = False

    def write(rows: pl.DataFrame) -> None:
        nonlocal begun
        if rows.is_empty():
            return
        # A line break within a text is escaped: each line is a row.
        lines = rows.with_columns(amounts).write_ndjson().rstrip("\n").replace("\n", ",\n")
        file.write(((",\n" if begun else "\n") + lines).encode())
        begun = True

    amounts = amounts_as_text(table)
    about = (f'"{name}": {json.dumps(value, ensure_ascii=False)},\n' for name, value in table.describe().items())
    file.write(f'{{\n{"".join(about)}"rows": ['.encode())
    yield write
    file.write(b"\n]}\n")


@contextmanager
def open_parquet(file: IO[bytes], table: ExportTable) -> Iterator[Write]:
    """Yields a function that appends rows to the Parquet ``file``: amounts as decimal(38, 10).

    The unit of a column is in the column's metadata, and everything else in ``usage_jobs`` of the file's.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types: dict[str, Any] = dict.fromkeys(("quantity", "money"), pa.decimal128(38, PLACES))
    types |= {"date": pa.date32(), "count": pa.int64(), "boolean": pa.bool_(), "text": pa.string()}
    types |= {"moment": pa.timestamp("us", "UTC")}
    fields = [pa.field(c.name, types[c.values], metadata={"unit": table.unit(c)}) for c in table.columns]
    schema = pa.schema(fields, metadata={"usage_jobs": json.dumps(table.describe(), ensure_ascii=False)})
    moments = [pl.col(c.name).str.to_datetime(time_zone="UTC") for c in table.columns if c.values == "moment"]
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_table(rows.with_columns(moments).to_arrow().cast(schema))

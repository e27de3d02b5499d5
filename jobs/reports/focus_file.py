"""Writes a FOCUS file batch by batch, as CSV or Parquet: its memory does not grow with its rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO

import polars as pl

from jobs.reports.focus_columns import FOCUS

Write = Callable[[pl.DataFrame], None]
_CSV_TIME = "%Y-%m-%dT%H:%M:%SZ"


@contextmanager
def open_csv(file: IO[bytes]) -> Iterator[Write]:
    """Yields a function that appends rows to the CSV ``file``.

    Texts are written as they are: FOCUS allows no ' before what a spreadsheet would take for a formula.
    """
    file.write(pl.DataFrame(schema=FOCUS).write_csv().encode())
    yield lambda rows: _write_csv(file, rows)


def _write_csv(file: IO[bytes], rows: pl.DataFrame) -> None:
    # In slices: a row is 600 characters long.
    for some in rows.iter_slices(20_000):
        block = BytesIO()
        some.write_csv(block, include_header=False, datetime_format=_CSV_TIME)
        file.write(block.getvalue())


@contextmanager
def open_parquet(file: IO[bytes]) -> Iterator[Write]:
    """Yields a function that appends rows to the Parquet ``file``, which says what it is in its metadata."""
    import pyarrow.parquet as pq

    schema = pl.DataFrame(schema=FOCUS).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    schema = schema.with_metadata({"FocusVersion": "1.2", "FocusDataset": "CostAndUsage"})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema))

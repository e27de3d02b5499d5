"""`usage-jobs export --format focus`: cost and usage in the FOCUS format 1.2, dataset CostAndUsage."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import IO

import polars as pl

from jobs.domain.billing_periods import months_of
from jobs.domain.fixed_point import unscaled
from jobs.pipeline.covered_months import open_month, read_covered_months
from jobs.pipeline.run_request import Progress
from jobs.postgres.cluster_rollups import read_cluster_names
from jobs.postgres.connections import Connection
from jobs.postgres.conninfo import Address
from jobs.postgres.export_queries import MonthOfExport, make_query, read_blocks
from jobs.postgres.people import read_people
from jobs.postgres.run_scope import RunScope
from jobs.reports.export import Exported, write_once
from jobs.reports.export_request import ExportRequest, describe_open_month
from jobs.reports.export_table import ExportTable
from jobs.reports.export_text import Write
from jobs.reports.focus_columns import COSTS, FOCUS, fill_columns
from jobs.reports.focus_rows import ROWS, list_corrections, list_rows
from jobs.reports.rated_month import rate_all_users, refuse_changed
from jobs.settings import Settings

USAGE_ROWS = 10_000
"""Usage rows that are read at a time: each becomes six or seven rows of the file, of 45 columns."""
CSV_TIME = "%Y-%m-%dT%H:%M:%SZ"
_NO_NAMES = pl.DataFrame(schema={"cluster_id": pl.UInt128, "cluster_name": pl.String})


def export_focus(
    settings: Settings,
    address: Address,
    request: ExportRequest,
    file: IO[bytes],
    progress: Progress = lambda *_: None,
) -> Exported:
    """Writes the months of ``request`` to ``file``: Parquet where ``out`` ends with .parquet, else CSV.

    All rows are as of one moment. Raises ConfigError for a month that no run has covered; DataChangedError where usage
    or prices have changed since the last run.
    """

    def write(connection: Connection, begin: Callable[[], None]) -> Exported:
        covered = read_covered_months(connection, settings)
        # All of them before any usage is read: a month that is refused ends the command at once.
        scopes = [open_month(connection, covered, month) for month in months_of(request.first, request.last)]
        notes = tuple(
            describe_open_month(scope.window.first, scope.window.last)
            for scope in scopes
            if not covered.is_closed(scope.window.first)
        )
        begin()
        return replace(_write_months(connection, address, scopes, request, file, progress), notes=notes)

    return write_once(address, write)


def _write_months(
    connection: Connection,
    address: Address,
    scopes: Sequence[RunScope],
    request: ExportRequest,
    file: IO[bytes],
    progress: Progress,
) -> Exported:
    is_parquet = request.out is not None and request.out.suffix.lower() == ".parquet"
    done, sums = 0, dict[str, Counter[str]]()
    with (open_parquet if is_parquet else open_csv)(file) as write:
        for scope in scopes:
            clusters = read_cluster_names(connection, scope) if request.with_names else _NO_NAMES
            of_currency = sums.setdefault(scope.currency, Counter())
            for rows in _list_month(connection, address, scope, request):
                write(fill_columns(scope, rows, _name_users(connection, scope, request, rows), clusters))
                of_currency.update({name: int(rows[column].sum()) for column, name in COSTS.items()})
                done += rows.height
                progress(f"export {scope.window.first:%Y-%m}", done, None)
    figures = {currency: {name: unscaled(each[name]) for name in each} for currency, each in sums.items()}
    return Exported([scope.window.first for scope in scopes], done, figures)


def _name_users(
    connection: Connection, scope: RunScope, request: ExportRequest, rows: pl.DataFrame
) -> dict[str, str | None]:
    users = rows["user_id"].unique().to_list() if request.with_names else []
    return {user: person.name for user, person in read_people(connection, scope.settings, users).items()}


def _list_month(
    connection: Connection, address: Address, scope: RunScope, request: ExportRequest
) -> Iterator[pl.DataFrame]:
    """Yields the rows of a month (focus_rows.ROWS), a batch of users at a time, its corrections last."""
    for rated, changed in rate_all_users(connection, address, scope, request.users, USAGE_ROWS):
        refuse_changed(scope, changed)
        rows = list_rows(scope, rated)
        yield rows if request.clusters is None else rows.filter(_of_clusters(request))
    # A correction is of a user's month, not of a cluster.
    if request.clusters is None:
        yield list_corrections(scope, _read_corrections(connection, scope, request))


def _read_corrections(connection: Connection, scope: RunScope, request: ExportRequest) -> pl.DataFrame:
    """Returns the rows of `export --by correction`."""
    query = make_query(connection, scope.settings, "correction", request.users, None, with_names=False)
    month = MonthOfExport(scope.window.first, scope.currency, is_closed=True)
    table = ExportTable(query.by, query.columns, (month,))
    return pl.concat([table.parse(block) for block in read_blocks(connection, query, month)])


def _of_clusters(request: ExportRequest) -> pl.Expr:
    """Whether a row is of one of the clusters that are asked for; a row of a whole month is of none."""
    asked = request.clusters or frozenset()
    numbers = pl.Series([each.int for each in asked if each is not None], dtype=ROWS["cluster_id"])
    is_asked = pl.col("cluster_id").is_in(numbers.implode()).fill_null(value=None in asked)
    return is_asked & (pl.col("category").ne("Adjustment") | (pl.col("first") == pl.col("last")))


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
        some.write_csv(block, include_header=False, datetime_format=CSV_TIME)
        file.write(block.getvalue())


@contextmanager
def open_parquet(file: IO[bytes]) -> Iterator[Write]:
    """Yields a function that appends rows to the Parquet ``file``, which says what it is in its metadata."""
    import pyarrow.parquet as pq

    schema = pl.DataFrame(schema=FOCUS).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    schema = schema.with_metadata({"FocusVersion": "1.2", "FocusDataset": "CostAndUsage"})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema))

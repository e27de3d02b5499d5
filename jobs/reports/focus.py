"""`usage-jobs export --format focus`: cost and usage in the FOCUS format 1.2, dataset CostAndUsage."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import IO

import polars as pl

from jobs.domain.billing_periods import first_open_month, is_closed, months_of
from jobs.domain.fixed_point import unscaled
from jobs.pipeline.run_request import Progress
from jobs.postgres import run_log, server_clock
from jobs.postgres.cluster_rollups import read_cluster_names
from jobs.postgres.connections import Connection, open_link, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.corrections import read_corrections
from jobs.postgres.errors import is_transient, retry
from jobs.postgres.people import read_people
from jobs.postgres.run_scope import RunScope
from jobs.reports.export_request import ExportRequest, describe_open_month
from jobs.reports.focus_columns import COSTS
from jobs.reports.focus_corrections import list_corrections
from jobs.reports.focus_file import open_csv, open_parquet
from jobs.reports.focus_rows import ROWS, list_rows
from jobs.reports.focus_table import fill_columns
from jobs.reports.rated_month import open_month, rate_all_users
from jobs.settings import Settings

USAGE_ROWS = 10_000
"""Usage rows that are read at a time: each becomes six or seven rows of the file, of 45 columns."""
_NO_NAMES = pl.DataFrame(schema={"cluster_id": pl.UInt128, "cluster_name": pl.String})


@dataclass(slots=True)
class FocusFile:
    """A FOCUS file that was written: its months, notes, how many rows it has, and the sums of its costs by currency."""

    months: tuple[date, ...]
    notes: tuple[str, ...] = ()
    rows: int = 0
    _sums: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, currency: str, rows: pl.DataFrame) -> None:
        """Adds rows (focus_rows.ROWS) to the number and to the sums."""
        self.rows += rows.height
        sums = self._sums.setdefault(currency, Counter())
        for column, name in COSTS.items():
            sums[name] += int(rows[column].sum())

    @property
    def figures(self) -> Mapping[str, Mapping[str, Decimal]]:
        """The sums of the costs, by currency."""
        return {currency: {name: unscaled(sums[name]) for name in sums} for currency, sums in self._sums.items()}


def export_focus(
    settings: Settings,
    address: Address,
    request: ExportRequest,
    file: IO[bytes],
    progress: Progress = lambda *_: None,
) -> FocusFile:
    """Writes the months of ``request`` to ``file``: Parquet where ``out`` ends with .parquet, else CSV.

    All rows are as of one moment. Raises ConfigError for a month that no run has covered; DataChangedError where usage
    or prices have changed since the last run.
    """
    begun: list[bool] = []

    def write_once() -> FocusFile:
        with transaction(link.connection, snapshot=True) as connection:
            # All of them before any usage is read: a month that is refused ends the command at once.
            scopes = [open_month(connection, settings, month) for month in months_of(request.first, request.last)]
            notes = tuple(_find_notes(connection, scopes))
            begun.append(True)
            return replace(_write_months(connection, address, scopes, request, file, progress), notes=notes)

    with open_link(address) as link:
        # Only before the first byte: a second try would write the same rows again.
        return retry(write_once, while_=lambda error: not begun and is_transient(error))


def _find_notes(connection: Connection, scopes: Sequence[RunScope]) -> Iterator[str]:
    settings, today = scopes[0].settings, server_clock.today(connection)
    history, _ = run_log.read_history(connection, settings, today)
    first_open = first_open_month(history, settings.start, today)
    for scope in scopes:
        if not is_closed(month := scope.window.first, history, first_open):
            yield describe_open_month(month, scope.window.last)


def _write_months(
    connection: Connection,
    address: Address,
    scopes: Sequence[RunScope],
    request: ExportRequest,
    file: IO[bytes],
    progress: Progress,
) -> FocusFile:
    written = FocusFile(tuple(scope.window.first for scope in scopes))
    is_parquet = request.out is not None and request.out.suffix.lower() == ".parquet"
    with (open_parquet if is_parquet else open_csv)(file) as write:
        for scope in scopes:
            clusters = read_cluster_names(connection, scope) if request.with_names else _NO_NAMES
            for rows in _list_month(connection, address, scope, request):
                written.add(scope.currency, rows)
                write(fill_columns(scope, rows, _name_users(connection, scope, request, rows), clusters))
                progress(f"export {scope.window.first:%Y-%m}", written.rows, None)
    return written


def _name_users(
    connection: Connection, scope: RunScope, request: ExportRequest, rows: pl.DataFrame
) -> dict[str, str | None]:
    users = rows["user_id"].unique().to_list() if request.with_names else []
    return {user: person.name for user, person in read_people(connection, scope.settings, users).items()}


def _list_month(
    connection: Connection, address: Address, scope: RunScope, request: ExportRequest
) -> Iterator[pl.DataFrame]:
    """Yields the rows of a month (focus_rows.ROWS), a batch of users at a time, its corrections last."""
    for rated in rate_all_users(connection, address, scope, request.users, USAGE_ROWS):
        rows = list_rows(scope, rated)
        yield rows if request.clusters is None else rows.filter(_of_clusters(request))
    # A correction is of a user's month, not of a cluster.
    if request.clusters is None:
        found = read_corrections(connection, scope.settings, scope.window.first, request.users)
        yield list_corrections(scope, found)


def _of_clusters(request: ExportRequest) -> pl.Expr:
    """Whether a row is of one of the clusters that are asked for; a row of a whole month is of none."""
    asked = request.clusters or frozenset()
    numbers = pl.Series([each.int for each in asked if each is not None], dtype=ROWS["cluster_id"])
    is_asked = pl.col("cluster_id").is_in(numbers.implode()).fill_null(value=None in asked)
    return is_asked & (pl.col("category").ne("Adjustment") | (pl.col("first") == pl.col("last")))

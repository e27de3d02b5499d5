"""`usage-jobs export`: the rows of one of the job's tables, or sums over user_daily, as a file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import IO, Any

from jobs.domain.billing_periods import last_of, months_of
from jobs.domain.errors import ConfigError
from jobs.domain.wording import name_some
from jobs.pipeline.covered_months import read_covered_months
from jobs.pipeline.run_request import Progress
from jobs.postgres import export_queries
from jobs.postgres.connections import Connection, open_link, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.errors import is_transient, retry
from jobs.postgres.export_queries import ExportQuery, MonthOfExport
from jobs.reports import export_markdown, export_workbook
from jobs.reports.export_request import ExportRequest, check_request, describe_open_month
from jobs.reports.export_table import ExportTable, Totals
from jobs.reports.export_text import Write, open_csv, open_json, open_parquet
from jobs.settings import Settings

MOST_ROWS = {"xlsx": export_workbook.MOST_ROWS, "md": export_markdown.MOST_ROWS}
"""By format, how many rows a file may have."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written: its months, how many rows it has, their sums by currency and column, and notes."""

    months: Sequence[Any]
    rows: int
    figures: Mapping[str, Mapping[str, Decimal | int]]
    notes: tuple[str, ...] = field(default=())


def export(
    settings: Settings, address: Address, request: ExportRequest, file: IO[bytes], progress: Progress
) -> Exported:
    """Writes the rows of ``request`` to ``file``, all as of one moment.

    Raises ConfigError for a month that no run has covered, and for more rows than the format takes.
    """
    check_request(request)

    def write(connection: Connection, begin: Callable[[], None]) -> Exported:
        months, furthest = _find_months(connection, settings, request)
        query = export_queries.make_query(
            connection, settings, request.by, request.users, request.clusters, with_names=request.with_names
        )
        notes = tuple(_find_notes(connection, query, months, furthest, with_names=request.with_names))
        rows = _count(connection, query, request, months)
        table = ExportTable(request.by, query.columns, months, notes)
        begin()
        with _open(request.format, file, table, settings) as write:
            totals = _write_months(connection, query, table, write, lambda stage, done: progress(stage, done, rows))
        return Exported(table.describe()["months"], totals.rows, totals.by_currency(), notes)

    return write_once(address, write)


def write_once(address: Address, write: Callable[[Connection, Callable[[], None]], Exported]) -> Exported:
    """Returns what ``write`` returns: called with a snapshot, and with a function that it calls before the first byte.

    Until then it is called again after an error that passes; later a second try would write the same rows again.
    """
    begun: list[bool] = []

    def attempt() -> Exported:
        with transaction(link.connection, snapshot=True) as connection:
            return write(connection, lambda: begun.append(True))

    with open_link(address) as link:
        return retry(attempt, while_=lambda error: not begun and is_transient(error))


def _write_months(
    connection: Connection,
    query: ExportQuery,
    table: ExportTable,
    write: Write,
    progress: Callable[[str, int], None],
) -> Totals:
    """Writes the rows of every month, block by block. Returns their sums."""
    totals = Totals(table.columns)
    for of in table.months:
        for block in export_queries.read_blocks(connection, query, of):
            rows = table.parse(block)
            totals.add(rows)
            write(rows)
            progress(f"export {of.month:%Y-%m}", totals.rows)
    return totals


def _open(form: str, file: IO[bytes], table: ExportTable, settings: Settings) -> AbstractContextManager[Write]:
    if form == "xlsx":
        return export_workbook.open_workbook(file, table, settings.currency_scale)
    formats = {"csv": open_csv, "json": open_json, "parquet": open_parquet, "md": export_markdown.open_markdown}
    return formats[form](file, table)


def _find_months(
    connection: Connection, settings: Settings, request: ExportRequest
) -> tuple[tuple[MonthOfExport, ...], date | None]:
    """Returns the months of ``request``, and the last covered day. Raises ConfigError where one is not covered."""
    covered = read_covered_months(connection, settings)
    records = covered.records
    asked = months_of(request.first, request.last)
    if missing := [month for month in asked if month not in records.modes]:
        known = sorted(records.modes)
        found = f"covered are {known[0]:%Y-%m} to {known[-1]:%Y-%m}" if known else "no run has been done yet"
        option = "--month" if missing[0] == request.first else "--to"
        raise ConfigError(
            f"{option} {missing[0]:%Y-%m}: expected months that runs have covered; {found}. Give others, or let "
            "usage-jobs run or backfill cover it first"
        )
    months = (MonthOfExport(month, covered.currency(month), covered.is_closed(month)) for month in asked)
    return tuple(months), covered.history.furthest


def _count(
    connection: Connection, query: ExportQuery, request: ExportRequest, months: tuple[MonthOfExport, ...]
) -> int | None:
    """Returns how many rows the file will have, for its limit and for progress; None where counting would take as long
    as reading them. Raises ConfigError for more rows than the format takes."""
    most = MOST_ROWS.get(request.format)
    if most is None and query.kind.is_grouped:
        return None
    rows = export_queries.count_rows(connection, query, months)
    if most is not None and rows > most:
        raise ConfigError(
            f"--format {request.format}: expected at most {most:,} rows; found {rows:,}. Give --format csv or --format "
            "parquet, which take any number, or fewer months"
        )
    return rows


def _find_notes(
    connection: Connection,
    query: ExportQuery,
    months: tuple[MonthOfExport, ...],
    furthest: date | None,
    *,
    with_names: bool,
) -> Iterator[str]:
    """Yields what a reader of the file must know."""
    asked = [of.month for of in months]
    for of in months:
        if not of.is_closed:
            last = min(last_of(of.month), furthest or last_of(of.month))
            yield describe_open_month(of.month, last)
    if query.kind.is_grouped:
        for month in export_queries.find_short_months(connection, query, asked):
            yield (
                f"{month:%Y-%m} is not complete in this file: it was closed before {query.settings.rollup_schema}."
                f"user_daily was kept. usage-jobs backfill --from {month} --to {last_of(month)} --reason TEXT adds it"
            )
    if query.by == "cluster" and export_queries.has_touched_days(connection, query.settings, asked):
        yield "a run has died: its last days are not in the cluster tables yet; the next run adds them"
    if nobody := export_queries.find_ids_without_usage(connection, query, asked):
        yield f"no usage in these months: {name_some(nobody)}"
    if with_names and (hidden := export_queries.find_hidden_names(query)):
        yield (
            f"without {' and '.join(hidden)}: this role may not read them; usage-jobs check says how to grant it "
            "(--no-names leaves them out without this note)"
        )

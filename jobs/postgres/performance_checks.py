"""Checks for what decides the duration and the memory of a run. `check` shows them; they never prevent a run."""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from jobs.postgres.connections import Connection
from jobs.postgres.findings import Finding
from jobs.postgres.sql_loader import app_table, compose
from jobs.settings import Settings

MANY_PAGES = 12_800
"""100 MB: a smaller table is read in a tenth of a second, so it needs no index."""
HALF = 50
"""Per cent of a page that inserts should fill; the rest is for the row versions that runs write. Measured on 30 million
rows: 100,000 rows are written in 0.4 s instead of 6.8 s, with 7 MB of WAL instead of 1,029 MB."""
BYTES_OF_ENTRY = 8
"""Size of an entry of a btree with thousands of equal keys; measured: 6.9 on 3 million rows of 30 days."""
BYTES_OF_PYTHON = 150 * 2**20
BYTES_AT_WORK = 1_500
"""Memory of a row while its batch is computed and written. Both measured on size M of tests/bench."""
ENOUGH = 512
"""MiB of memory that a run may use."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """The storage of usage_daily.

    - ``pages``, ``size``: its pages and bytes
    - ``by_user``, ``by_day``: whether there is an index that begins with user_id, or with date
    - ``rows``: number of rows by the statistics; 0: not known
    - ``fillfactor``: per cent of a page that inserts fill
    """

    pages: int
    size: int
    by_user: bool
    by_day: bool
    rows: int
    fillfactor: int


def read_table_layout(connection: Connection, settings: Settings) -> TableLayout | None:
    """Returns the storage of usage_daily; None where there is no such table."""
    quoted = sql.Literal(app_table(settings, "usage_daily").as_string(None))
    row = connection.execute(compose("preflight.usage_shape", quoted=quoted)).fetchone()
    return None if row is None else TableLayout(*row)


def check_performance(connection: Connection, settings: Settings, *, writes: bool) -> Iterator[Finding]:
    """Yields what would make runs faster where the table is large, and the memory of a run. ``writes``: runs write
    usage_daily."""
    found = read_table_layout(connection, settings)
    if found is not None and found.pages >= MANY_PAGES:
        yield from _check_table(found, app_table(settings, "usage_daily"), writes=writes)
    most = estimate_memory(settings)
    remedy = "" if most <= ENOUGH else "Take smaller batches (batch_rows), or fewer workers"
    yield Finding(
        "note" if remedy else "ok",
        "memory",
        f"at most {ENOUGH} MiB, however large the table",
        f"about {most:,} MiB",
        "A run may be ended by the system" if remedy else "",
        remedy,
    )


def _check_table(shape: TableLayout, usage: sql.Identifier, *, writes: bool) -> Iterator[Finding]:
    size = f"on {shape.size // 10**6:,} MB"
    for there, columns, use, consequence in (
        (
            shape.by_user,
            ("user_id", "date"),
            "an index, so that a batch reads only the rows of its users",
            "Every batch reads the whole table; its results are the same",
        ),
        (
            shape.by_day,
            ("date",),
            "an index, so that the duration of a run does not grow with the table",
            "Every run reads the whole table; its results are the same",
        ),
    ):
        if not there:
            # Statements to be shown, with the names of these tables and columns; they are not run.
            keys = sql.SQL(", ").join(map(sql.Identifier, columns))
            make = sql.SQL("CREATE INDEX CONCURRENTLY ON {} ({})").format(usage, keys).as_string(None)
            remedy = (
                f"{make}; (about {shape.rows * BYTES_OF_ENTRY // 10**6 + 1:,} MB; each insert takes a little longer)"
            )
            subject = f"index on usage_daily ({', '.join(columns)})"
            yield Finding("note", subject, use, f"none, {size}", consequence, remedy)
    if writes and shape.fillfactor > HALF:
        leave = sql.SQL("ALTER TABLE {} SET (fillfactor = {})").format(usage, HALF).as_string(None)
        yield Finding(
            "note",
            "room on the pages of usage_daily",
            f"fillfactor {HALF}, so that an updated row stays on its page, and no index has to change",
            f"fillfactor {shape.fillfactor}, {size}",
            "Each row that a run writes moves to another page and into every index; its results are the same",
            f"{leave}; (of rows inserted from then on: the table needs the same space as now, but already on insert)",
        )


def estimate_memory(settings: Settings) -> int:
    """Returns the highest memory of a run in MiB: the rows of all workers' batches, times the memory of a row."""
    at_work = settings.workers * settings.batch_rows * BYTES_AT_WORK
    return (BYTES_OF_PYTHON + at_work) // 2**20 + 1

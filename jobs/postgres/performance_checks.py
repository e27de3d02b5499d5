"""Checks for what decides the duration and the memory of a run. `check` shows them; they never prevent a run."""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from jobs.postgres.connections import Connection
from jobs.postgres.findings import Finding
from jobs.postgres.sql_loader import app_table, column_list, compose
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


INDEXES = (
    (
        ("user_id", "date"),
        "an index, so that a batch reads only the rows of its users",
        "Every batch reads the whole table; its results are the same",
    ),
    (
        ("date",),
        "an index, so that the duration of a run does not grow with the table",
        "Every run reads the whole table; its results are the same",
    ),
)
"""Columns of an index, what it is for, and the consequence where there is none that begins with its first column."""


def check_performance(connection: Connection, settings: Settings, *, writes: bool) -> Iterator[Finding]:
    """Yields what would make runs faster where the table is large, and the memory of a run. ``writes``: runs write
    usage_daily."""
    usage = app_table(settings, "usage_daily")
    quoted = sql.Literal(usage.as_string(None))
    row = connection.execute(compose("preflight.usage_shape", quoted=quoted)).fetchone()
    layout = None if row is None else TableLayout(*row)
    if layout is not None and layout.pages >= MANY_PAGES:
        yield from _check_table(layout, usage, writes=writes)
    most, expected = estimate_memory(settings), f"at most {ENOUGH} MiB, however large the table"
    if most <= ENOUGH:
        yield Finding("ok", "memory", expected, f"about {most:,} MiB")
    else:
        consequence, remedy = "A run may be ended by the system", "Take smaller batches (batch_rows), or fewer workers"
        yield Finding("note", "memory", expected, f"about {most:,} MiB", consequence, remedy)


def _check_table(layout: TableLayout, usage: sql.Identifier, *, writes: bool) -> Iterator[Finding]:
    """Yields remedies with statements for psql, which are not run here."""
    size, table = f"on {layout.size // 10**6:,} MB", usage.as_string(None)
    for is_there, (columns, use, consequence) in zip((layout.by_user, layout.by_day), INDEXES, strict=True):
        if not is_there:
            megabytes = layout.rows * BYTES_OF_ENTRY // 10**6 + 1
            make = f"CREATE INDEX CONCURRENTLY ON {table} ({column_list(list(columns)).as_string(None)})"
            remedy = f"{make}; (about {megabytes:,} MB; each insert takes a little longer)"
            yield Finding(
                "note", f"index on usage_daily ({', '.join(columns)})", use, f"none, {size}", consequence, remedy
            )
    if writes and layout.fillfactor > HALF:
        yield Finding(
            "note",
            "room on the pages of usage_daily",
            f"fillfactor {HALF}, so that an updated row stays on its page, and no index has to change",
            f"fillfactor {layout.fillfactor}, {size}",
            "Each row that a run writes moves to another page and into every index; its results are the same",
            f"ALTER TABLE {table} SET (fillfactor = {HALF}); (of rows inserted from then on: the table needs the same "
            "space as now, but already on insert)",
        )


def estimate_memory(settings: Settings) -> int:
    """Returns the highest memory of a run in MiB: the rows of all workers' batches, times the memory of a row."""
    return (BYTES_OF_PYTHON + settings.workers * settings.batch_rows * BYTES_AT_WORK) // 2**20 + 1

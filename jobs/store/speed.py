"""What decides how long a run takes and how much memory it has: shown by `check`, and never in a run's way."""

from collections.abc import Iterator

from psycopg import sql

from jobs.settings import Settings
from jobs.store import arms, spill
from jobs.store.database import Connection
from jobs.store.findings import Finding
from jobs.store.statements import source

MANY_PAGES = 12_800
"""100 MB: what is read in a tenth of a second need not be found by an index."""
BYTES_OF_ENTRY = 8
"""Of a btree whose keys are equal by the thousand; measured: 6.9 on 3 million rows of 30 days."""


def findings(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """The index that would help, and the memory that a run takes."""
    shape = arms.shape(connection, settings)
    if shape is not None and shape.pages >= MANY_PAGES and not shape.by_day:
        usage = source(settings, "usage_daily")
        make = sql.SQL("CREATE INDEX CONCURRENTLY ON {} (date)").format(usage).as_string(None)
        yield Finding(
            "note",
            "index on usage_daily (date)",
            "one, so that a night costs the same however old the table is",
            f"none, on {shape.size // 10**6:,} MB",
            "Every run reads the whole table; its results are the same",
            f"{make} (about {shape.rows * BYTES_OF_ENTRY // 10**6 + 1:,} MB, and a little of every insert)",
        )
    yield Finding("ok", "memory", "at most 1 GiB, however large the table", f"about {memory(settings):,} MiB")


def memory(settings: Settings) -> int:
    """The most that a run takes, in MiB, by construction: rows that are held or at work, times what a row takes."""
    held = min(settings.max_rows_per_chunk, spill.HELD_ROWS) * spill.BYTES_HELD
    chunk = spill.chunk_rows(settings.max_rows_per_chunk, settings.workers)
    at_work = settings.workers * chunk * spill.BYTES_AT_WORK
    return (spill.BYTES_OF_PYTHON + held + at_work) // 2**20 + 1

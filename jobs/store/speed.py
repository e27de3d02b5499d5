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
HALF = 50
"""Per cent of a page for rows as they come; the rest for what a run makes of each. Measured on 30 million rows: 100,000
are written in 0.4 s instead of 6.8 s, with 7 MB of the server's log instead of 1,029 MB."""
BYTES_OF_ENTRY = 8
"""Of a btree whose keys are equal by the thousand; measured: 6.9 on 3 million rows of 30 days."""


def findings(connection: Connection, settings: Settings, *, writes: bool) -> Iterator[Finding]:
    """What would help where the table is large, and the memory that a run takes. ``writes``: runs write usage_daily."""
    shape = arms.shape(connection, settings)
    if shape is not None and shape.pages >= MANY_PAGES:
        yield from _of_table(shape, source(settings, "usage_daily"), writes=writes)
    yield Finding("ok", "memory", "at most 1 GiB, however large the table", f"about {memory(settings):,} MiB")


def _of_table(shape: arms.Shape, usage: sql.Identifier, *, writes: bool) -> Iterator[Finding]:
    size = f"on {shape.size // 10**6:,} MB"
    if not shape.by_day:
        make = sql.SQL("CREATE INDEX CONCURRENTLY ON {} (date)").format(usage).as_string(None)
        yield Finding(
            "note",
            "index on usage_daily (date)",
            "one, so that a night costs the same however old the table is",
            f"none, {size}",
            "Every run reads the whole table; its results are the same",
            f"{make} (about {shape.rows * BYTES_OF_ENTRY // 10**6 + 1:,} MB, and a little of every insert)",
        )
    if writes and shape.fillfactor > HALF:
        leave = sql.SQL("ALTER TABLE {} SET (fillfactor = {})").format(usage, HALF).as_string(None)
        yield Finding(
            "note",
            "room on the pages of usage_daily",
            f"fillfactor {HALF}, so that a row that is written stays on its page, and no index has to change",
            f"fillfactor {shape.fillfactor}, {size}",
            "Each row that a run writes moves, and is entered anew in every index; its results are the same",
            f"{leave} (of rows inserted from then on; these take the space at once that they take now once written)",
        )


def memory(settings: Settings) -> int:
    """The most that a run takes, in MiB, by construction: rows that are held or at work, times what a row takes."""
    held = min(settings.max_rows_per_chunk, spill.HELD_ROWS) * spill.BYTES_HELD
    chunk = spill.chunk_rows(settings.max_rows_per_chunk, settings.workers)
    at_work = settings.workers * chunk * spill.BYTES_AT_WORK
    return (spill.BYTES_OF_PYTHON + held + at_work) // 2**20 + 1

"""Checks for what decides the duration and the memory of a run. `check` shows them; they never prevent a run."""

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.postgres.connections import Connection, read_dicts
from jobs.postgres.findings import Finding
from jobs.postgres.sql_loader import app_table
from jobs.settings import Settings

MANY_PAGES = 12_800
"""100 MB: a smaller table is read in a tenth of a second, so it needs no index."""
FILLFACTOR = 50
"""Per cent of a page that inserts should fill; the rest is for the row versions that runs write. Measured on 30 million
rows: 100,000 rows are written in 0.4 s instead of 6.8 s, with 7 MB of WAL instead of 1,029 MB."""
BYTES_OF_ENTRY = 8
"""Size of an entry of a btree with thousands of equal keys; measured: 6.9 on 3 million rows of 30 days."""
BYTES_OF_PYTHON = 150 * 2**20
BYTES_AT_WORK = 1_500
"""Memory of a row while its batch is computed and written. Both measured on size M of tests/bench."""
MOST_MEBIBYTES = 512
"""MiB of memory that a run may use."""
INDEXES = {
    "user_id, date": (
        "a batch reads only the rows of its users",
        "Every batch reads the whole table; its results are the same",
    ),
    "date": (
        "the duration of a run does not grow with the table",
        "Every run reads the whole table; its results are the same",
    ),
}
"""By its columns: what an index is for, and the consequence where none begins with the first of these columns."""


def check_performance(connection: Connection, settings: Settings, *, writes: bool) -> Iterator[Finding]:
    """Yields what would make runs faster where the table is large, and the memory of a run. ``writes``: runs write
    usage_daily."""
    usage = app_table(settings, "usage_daily").as_string(None)
    for storage in read_dicts(connection, "preflight.usage_storage", usage=usage):
        if storage["pages"] >= MANY_PAGES:
            yield from _check_table(storage, usage, writes=writes)
    most, expected = estimate_memory(settings), f"at most {MOST_MEBIBYTES} MiB, however large the table"
    if most <= MOST_MEBIBYTES:
        yield Finding("ok", "memory", expected, f"about {most:,} MiB")
    else:
        consequence, remedy = "A run may be ended by the system", "Take smaller batches (batch_rows), or fewer workers"
        yield Finding("note", "memory", expected, f"about {most:,} MiB", consequence, remedy)


def _check_table(storage: Mapping[str, Any], usage: str, *, writes: bool) -> Iterator[Finding]:
    """Yields remedies with statements for psql, which are not run here."""
    size = f"on {storage['size'] // 10**6:,} MB"
    for columns, (use, consequence) in INDEXES.items():
        if columns.partition(",")[0] not in storage["indexed"]:
            subject = f"index on usage_daily ({columns})"
            megabytes = storage["rows"] * BYTES_OF_ENTRY // 10**6 + 1
            make = f"CREATE INDEX CONCURRENTLY ON {usage} ({columns})"
            remedy = f"{make}; (about {megabytes:,} MB; each insert takes a little longer)"
            yield Finding("note", subject, f"an index, so that {use}", f"none, {size}", consequence, remedy)
    if writes and storage["fillfactor"] > FILLFACTOR:
        yield Finding(
            "note",
            "room on the pages of usage_daily",
            f"fillfactor {FILLFACTOR}, so that an updated row stays on its page, and no index has to change",
            f"fillfactor {storage['fillfactor']}, {size}",
            "Each row that a run writes moves to another page and into every index; its results are the same",
            f"ALTER TABLE {usage} SET (fillfactor = {FILLFACTOR}); (of rows inserted from then on: the table needs the "
            "same space as now, but already on insert)",
        )


def estimate_memory(settings: Settings) -> int:
    """Returns the highest memory of a run in MiB: the rows of all workers' batches, times the memory of a row."""
    return (BYTES_OF_PYTHON + settings.workers * settings.batch_rows * BYTES_AT_WORK) // 2**20 + 1

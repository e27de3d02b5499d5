"""What decides how long a run takes and how much memory it has: shown by `check`, and never in a run's way."""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from jobs.postgres.connections import Connection
from jobs.postgres.findings import Finding
from jobs.postgres.sql_loader import app_table, compose
from jobs.settings import Settings

MANY_PAGES = 12_800
"""100 MB: what is read in a tenth of a second need not be found by an index."""
HALF = 50
"""Per cent of a page for rows as they come; the rest for what a run makes of each. Measured on 30 million rows: 100,000
are written in 0.4 s instead of 6.8 s, with 7 MB of the server's log instead of 1,029 MB."""
BYTES_OF_ENTRY = 8
"""Of a btree whose keys are equal by the thousand; measured: 6.9 on 3 million rows of 30 days."""
BYTES_OF_PYTHON = 150 * 2**20
BYTES_AT_WORK = 1_500
"""Of a row while its batch is computed and written. Both measured on size M of tests/bench."""
ENOUGH = 512
"""MiB that a run may take."""


@dataclass(frozen=True, slots=True)
class TableLayout:
    """How usage_daily lies on disk: its pages and bytes, whether an index leads to a user's days, and to a day, by the
    statistics its rows (0: not known), and how many per cent of a page new rows may fill."""

    pages: int
    size: int
    by_user: bool
    by_day: bool
    rows: int
    fillfactor: int


def table_layout(connection: Connection, settings: Settings) -> TableLayout | None:
    """None where there is no such table."""
    quoted = sql.Literal(app_table(settings, "usage_daily").as_string(None))
    row = connection.execute(compose("preflight.usage_shape", quoted=quoted)).fetchone()
    return None if row is None else TableLayout(*row)


def findings(connection: Connection, settings: Settings, *, writes: bool) -> Iterator[Finding]:
    """What would help where the table is large, and the memory that a run takes. ``writes``: runs write usage_daily."""
    found = table_layout(connection, settings)
    if found is not None and found.pages >= MANY_PAGES:
        yield from _of_table(found, app_table(settings, "usage_daily"), writes=writes)
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


def _of_table(shape: TableLayout, usage: sql.Identifier, *, writes: bool) -> Iterator[Finding]:
    size = f"on {shape.size // 10**6:,} MB"
    for there, columns, use, consequence in (
        (
            shape.by_user,
            ("user_id", "date"),
            "one, so that a batch reads its users' rows and no others",
            "Every batch reads the whole table; its results are the same",
        ),
        (
            shape.by_day,
            ("date",),
            "one, so that a night costs the same however old the table is",
            "Every run looks at the whole table; its results are the same",
        ),
    ):
        if not there:
            keys = sql.SQL(", ").join(map(sql.Identifier, columns))
            make = sql.SQL("CREATE INDEX CONCURRENTLY ON {} ({})").format(usage, keys).as_string(None)
            remedy = f"{make}; (about {shape.rows * BYTES_OF_ENTRY // 10**6 + 1:,} MB, and a little of every insert)"
            subject = f"index on usage_daily ({', '.join(columns)})"
            yield Finding("note", subject, use, f"none, {size}", consequence, remedy)
    if writes and shape.fillfactor > HALF:
        leave = sql.SQL("ALTER TABLE {} SET (fillfactor = {})").format(usage, HALF).as_string(None)
        yield Finding(
            "note",
            "room on the pages of usage_daily",
            f"fillfactor {HALF}, so that a row that is written stays on its page, and no index has to change",
            f"fillfactor {shape.fillfactor}, {size}",
            "Each row that a run writes moves, and is entered anew in every index; its results are the same",
            f"{leave}; (of rows inserted from then on; these take the space at once that they take now once written)",
        )


def estimate_memory(settings: Settings) -> int:
    """The most that a run takes, in MiB: rows at work, times what a row takes."""
    at_work = settings.workers * settings.batch_rows * BYTES_AT_WORK
    return (BYTES_OF_PYTHON + at_work) // 2**20 + 1

"""How usage_daily lies on disk, and the *arms* of a read: some pages of the table, or some days, each of a bounded
size, so that a read streams in little memory, whatever its size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from psycopg import sql

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.statements import source, statement
from jobs.store.usage import UsageQuery, on_days

ARM_PAGES = 512
"""Pages of an arm: 30,000 rows as they usually are."""
ARM_ROWS = 100_000
"""About as many rows of an arm of days."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How usage_daily lies on disk: whether it is a table by itself, of the types that are packed; its pages and bytes;
    whether an index leads to a day; by the statistics its rows, and those of a day (0: not known); how many per cent
    of a page new rows may fill."""

    is_plain: bool
    pages: int
    size: int
    by_day: bool
    rows: int
    rows_a_day: int
    fillfactor: int


def shape(connection: Connection, settings: Settings) -> Shape | None:
    """None where there is no such table."""
    quoted = sql.Literal(source(settings, "usage_daily").as_string(None))
    text = statement("usage_shape", quoted=quoted, schema=sql.Literal(settings.source_schema))
    row = connection.execute(text).fetchone()
    return None if row is None else Shape(*row)


def arms(
    connection: Connection, query: UsageQuery, spans: list[tuple[date, date]], *, frozen: bool
) -> list[sql.Composed]:
    """The conditions that cut the rows of ``spans`` into arms; none where usage_daily cannot be read so.

    ``frozen``: whether what is asked here and what is read then are of one moment.
    """
    usage, found = source(query.settings, "usage_daily"), shape(connection, query.settings)
    if found is None or not found.is_plain:
        return []
    # Statistics that nobody has made, or that row-level security hides, tell nothing: pages are bounded anyway.
    if found.by_day and 0 < found.rows_a_day <= 2 * ARM_ROWS:
        return list(_of_days(spans, ARM_ROWS // found.rows_a_day))
    first, last = 0, found.pages
    if found.by_day and frozen:
        lie = connection.execute(statement("usage_pages", usage=usage, filter=on_days(spans))).fetchone()
        first, last = (0, 0) if lie is None or lie[0] is None else lie
    return list(_of_pages(spans, first, last))


def _of_days(spans: list[tuple[date, date]], days: int) -> Iterator[sql.Composed]:
    for first, last in spans:
        for n in range(0, (last - first).days + 1, max(days, 1)):
            since = first + timedelta(days=n)
            yield on_days([(since, min(last, since + timedelta(days=max(days, 1) - 1)))])


def _of_pages(spans: list[tuple[date, date]], first: int, last: int) -> Iterator[sql.Composed]:
    here = on_days(spans)
    for page in range(first, last + 1, ARM_PAGES):
        rows = sql.SQL("ctid >= {}::tid").format(f"({page},0)")
        # The last one is open: the table may have grown since it was measured.
        if page + ARM_PAGES <= last:
            rows += sql.SQL(" AND ctid < {}::tid").format(f"({page + ARM_PAGES},0)")
        yield rows + sql.SQL(" AND ") + here

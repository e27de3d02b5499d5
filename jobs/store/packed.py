"""Usage read many rows at a time: the server puts the values of each column one after the other, as bytes.

A row by itself costs the driver a microsecond, and as much again wherever it is taken apart; values in one long string
of bytes cost a few nanoseconds each. Every *arm* of a read, some pages of the table or some days, becomes one such row:
of a bounded size, so that a read streams in little memory, whatever its size.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import polars as pl
from psycopg import sql

from jobs.model.frames import usage_schema
from jobs.settings import Settings
from jobs.store.database import Connection, copying
from jobs.store.statements import source, statement
from jobs.store.usage import UsageQuery, on_days

ARM_PAGES, MOST_PAGES, MOST_ARMS = 512, 4096, 256
"""Pages of an arm: 30,000 rows as they usually are. More where that would make more arms than a plan should have."""
ARM_ROWS = 100_000
"""About as many rows of an arm of days."""
SEPARATOR = "\x1f"
FLAGS = "flags of a row"
"""A column beside the meters' that none of them can have the name of."""
CLUSTER_NULL, REPORTED, USER_NULL = 1, 2, 4
NO_COST, NO_NUMBER = -2, -(2**63)
"""Null, of total_cost and of credits_deducted: no value that can be taken is below 0, or so far below."""
NOTHING = "00000000-0000-0000-0000-000000000000"
YEAR_2000 = 10_957
"""From which PostgreSQL counts days, in days since 1970."""
_FLAGS = (
    "CASE WHEN hopsworks_cluster_id IS NOT NULL AND user_id IS NOT NULL AND NOT coalesce({reported}, false)"
    " THEN decode('00', 'hex') ELSE set_byte(decode('00', 'hex'), 0,"
    " (hopsworks_cluster_id IS NULL)::integer * {cluster} + coalesce({reported}, false)::integer * {was_reported}"
    " + (user_id IS NULL)::integer * {user}) END"
)
_KINDS: dict[str, tuple[pl.DataType, int]] = {
    "id": (pl.UInt128(), 16),
    "date": (pl.Int32(), 4),
    "cluster_id": (pl.UInt128(), 16),
    FLAGS: (pl.UInt8(), 1),
    "version": (pl.UInt32(), 4),
}
"""What the bytes of a column are, and how many a row has, where that is no Int64."""
_NUMBER = (pl.Int64(), 8)


@dataclass(frozen=True, slots=True)
class Shape:
    """How usage_daily lies on disk: whether it is a table by itself, of the types that are packed; its pages and bytes;
    whether an index leads to a day; by the statistics its rows, and those of a day (0: not known)."""

    is_plain: bool
    pages: int
    size: int
    by_day: bool
    rows: int
    rows_a_day: int


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
    step = min(max(ARM_PAGES, (last - first) // MOST_ARMS + 1), MOST_PAGES)
    here = on_days(spans)
    for page in range(first, last + 1, step):
        rows = sql.SQL("ctid >= {}::tid").format(f"({page},0)")
        # The last one is open: the table may have grown since it was measured.
        if page + step <= last:
            rows += sql.SQL(" AND ctid < {}::tid").format(f"({page + step},0)")
        yield rows + sql.SQL(" AND ") + here


def frames(
    connection: Connection, query: UsageQuery, some: list[sql.Composed]
) -> Iterator[pl.DataFrame | sql.Composed]:
    """The rows of some arms, in their order, by one statement: frames of whole rows as ``frames.usage_schema``.

    Of an arm that cannot be unpacked, its condition.
    """
    text = sql.SQL(" UNION ALL ").join(_packed(query, rows) for rows in some)
    with copying(connection, sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(text)) as copy:
        copy.set_types(["int8", *("bytea" for _ in _columns(query)), "text"])
        # Not before the next row is here: see database.blocks.
        rows = copy.rows()
        held = next(rows)
        for arm, row in zip(some, rows, strict=False):
            yield _frame(query, held, arm)
            held = row
    yield _frame(query, held, some[-1])


def _columns(query: UsageQuery) -> dict[str, sql.Composable]:
    """What is packed: by column of the frame its value as bytes, all of one length."""
    null = {"recorded": NO_COST, "deducted": NO_NUMBER}
    numbers = {
        name: sql.SQL("int8send(coalesce({}, {}))").format(value, sql.Literal(null[name]))
        if name in null
        else sql.SQL("int8send({})").format(value)
        for name, value in query.numbers().items()
    }
    flags = {"cluster": CLUSTER_NULL, "was_reported": REPORTED, "user": USER_NULL}
    version = {"version": sql.SQL("xidsend(xmin)")} if query.versions else {}
    return {
        "id": sql.SQL("uuid_send(id)"),
        "date": sql.SQL("date_send(date)"),
        "cluster_id": sql.SQL("uuid_send(coalesce(hopsworks_cluster_id, {}))").format(NOTHING),
        FLAGS: sql.SQL(_FLAGS).format(reported=query.reported, **flags),
        **version,
        **numbers,
    }


def _packed(query: UsageQuery, rows: sql.Composable) -> sql.Composed:
    strings = [sql.SQL("string_agg({}, ''::bytea)").format(value) for value in _columns(query).values()]
    return statement(
        "usage_packed",
        packed=sql.SQL(", ").join(strings),
        separator=sql.Literal(SEPARATOR),
        usage=source(query.settings, "usage_daily"),
        filter=rows,
    )


def _frame(query: UsageQuery, row: tuple[Any, ...], rows: sql.Composed) -> pl.DataFrame | sql.Composed:
    schema = usage_schema([meter.name for meter in query.meters])
    count, *packed, users = row
    if not count:
        return pl.DataFrame(schema=schema)
    names = pl.Series("user_id", [users]).str.split(SEPARATOR).explode()
    columns = dict(zip(_columns(query), packed, strict=True))
    if len(names) != count or any(len(held) != _kind(name)[1] * count for name, held in columns.items()):
        return rows  # somebody's id holds the separator, or a row has none
    series = [
        pl.Series(name, [held]).bin.reinterpret(dtype=pl.Array(_kind(name)[0], count), endianness="big").explode()
        for name, held in columns.items()
    ]
    frame = pl.DataFrame([names, *series])
    return _nulled(frame, query).select(pl.col(name).cast(kind) for name, kind in schema.items())


def _kind(name: str) -> tuple[pl.DataType, int]:
    return _KINDS.get(name, _NUMBER)


def _nulled(frame: pl.DataFrame, query: UsageQuery) -> pl.DataFrame:
    """With the nulls that travelled as something else."""

    def unless(name: str, null: pl.Expr) -> pl.Expr:
        return pl.when(~null).then(pl.col(name)).alias(name)

    def flag(bit: int) -> pl.Expr:
        return (pl.col(FLAGS) & bit) != 0

    return frame.with_columns(
        (pl.col("date") + YEAR_2000).cast(pl.Date),
        unless("cluster_id", flag(CLUSTER_NULL)),
        unless("user_id", flag(USER_NULL)),
        unless("recorded", pl.col("recorded") == NO_COST),
        unless("deducted", pl.col("deducted") == NO_NUMBER),
        flag(REPORTED).alias("reported"),
        *([] if query.versions else [pl.lit(None, pl.Int64).alias("version")]),
    )

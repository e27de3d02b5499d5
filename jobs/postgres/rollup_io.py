"""Reads what a roll-up table holds, and writes differences to it, by way of COPY into a temporary table.

Frames hold amounts as Int128 units of 10^-10 and uuids as UInt128; a table's definition says which column is what.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date
from io import BytesIO

import polars as pl
from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.fixed_point import PLACES
from jobs.domain.schemas import in_decimals
from jobs.postgres.connections import Connection, blocks, copying
from jobs.postgres.errors import writing
from jobs.postgres.schema import AMOUNT, Table, tables
from jobs.postgres.sql_loader import column_list, compose, in_spans, job_table, text_array
from jobs.settings import Settings

_TEXT_OF_CSV: dict[str, pl.DataType | type[pl.DataType]] = {
    "date": pl.Date,
    "numeric": pl.Decimal(38, PLACES),
    "integer": pl.Int64,
    "bigint": pl.Int64,
    "uuid": pl.String,
    "uuid[]": pl.String,
    "text": pl.String,
    "boolean": pl.String,
}


def table(settings: Settings, name: str) -> Table:
    """The definition of one of our tables."""
    return next(table for table in tables(settings.meters) if table.name == name)


def stored(
    connection: Connection, settings: Settings, of: Table, months: Iterable[date], users: Collection[str] | None = None
) -> Iterator[pl.DataFrame]:
    """The computed columns of the rows of ``months`` (of ``users``), in blocks; needs an open transaction."""
    rows = in_spans(of.key[0], month_spans(months))
    if users is not None:
        rows += sql.SQL(" AND user_id = ANY({})").format(text_array(users))
    yield from read(connection, of, of.computed, job_table(settings, of.name), rows)


def read(
    connection: Connection, of: Table, names: Sequence[str], table: sql.Composable, rows: sql.Composable
) -> Iterator[pl.DataFrame]:
    """Some columns of the rows for which the condition ``rows`` holds, in blocks; needs an open transaction.

    ``table``: where they are read, with the columns of ``of``.
    """
    text = sql.SQL("SELECT {} FROM {} WHERE {}").format(column_list(list(names)), table, rows)
    return read_query(connection, of, names, text)


def read_query(connection: Connection, of: Table, names: Sequence[str], text: sql.Composable) -> Iterator[pl.DataFrame]:
    """The rows of a query whose columns ``names`` are of the types that they have in ``of``, in blocks."""
    for block in blocks(connection, text):
        yield _parsed(block, of, names)


def _parsed(block: BytesIO, of: Table, names: Sequence[str]) -> pl.DataFrame:
    schema = {name: _TEXT_OF_CSV[_kind(of, name)] for name in names}
    frame = (
        pl.read_csv(block, has_header=False, schema=schema) if block.getbuffer().nbytes else pl.DataFrame(schema=schema)
    )
    return frame.with_columns(_inward(of, name) for name in names)


def _kind(of: Table, name: str) -> str:
    return of.kind(name).split("(")[0]


def _inward(of: Table, name: str) -> pl.Expr:
    column, kind = pl.col(name), _kind(of, name)
    if kind == "numeric":
        return column.to_physical()
    if kind == "boolean":
        return column == "t"
    if kind == "uuid":
        return column.str.replace_all("-", "", literal=True).str.to_integer(base=16, dtype=pl.UInt128)
    return column


def insert(connection: Connection, settings: Settings, of: Table, rows: pl.DataFrame, run_id: int) -> int:
    """Adds whole rows whose keys are new, inside the caller's transaction; how many."""
    if rows.is_empty():
        return 0
    # A third of the columns is 0 in every row (meters that nobody used), which is their default as well: what is not
    # sent need not be parsed.
    amounts = [name for name, kind in rows.schema.items() if kind == pl.Int128 and of.columns[name] == AMOUNT]
    used = rows.select((pl.col(name) != 0).any() for name in amounts).row(0)
    sent = rows.drop(name for name, is_used in zip(amounts, used, strict=True) if not is_used).sort(of.key)
    stage = stage_rows(connection, settings, of, sent)
    text = compose(
        "rollup_io.insert", table=job_table(settings, of.name), columns=column_list(sent.columns), stage=stage
    )
    with writing(f"{settings.rollup_schema}.{of.name}"):
        return connection.execute(text, {"run_id": run_id}).rowcount


def upsert(
    connection: Connection,
    settings: Settings,
    of: Table,
    rows: pl.DataFrame,
    run_id: int,
    closed: Collection[date] = (),
) -> int:
    """Inserts or replaces whole rows by key, inside the caller's transaction; how many were written.

    A row of user_monthly that is replaced in a month of ``closed`` gets its next revision.
    """
    if rows.is_empty():
        return 0
    values = [name for name in rows.columns if name not in of.key]
    stage, revised = stage_rows(connection, settings, of, rows), closed and "revision" in of.columns
    text = compose(
        "rollup_io.put",
        table=job_table(settings, of.name),
        columns=column_list(rows.columns),
        stage=stage,
        key=column_list(list(of.key)),
        assignments=_each("{0} = EXCLUDED.{0}", values),
        revision=sql.SQL("revision = t.revision + (t.month = ANY(%(closed)s))::integer, " if revised else ""),
        updated=sql.SQL(", updated_at = now()" if "updated_at" in of.columns else ""),
        standing=_each("t.{0}", values),
        excluded=_each("EXCLUDED.{0}", values),
    )
    with writing(f"{settings.rollup_schema}.{of.name}"):
        return connection.execute(text, {"run_id": run_id, "closed": list(closed)}).rowcount


def remove(connection: Connection, settings: Settings, of: Table, keys: pl.DataFrame) -> int:
    """Deletes rows by key, inside the caller's transaction; how many were deleted."""
    if keys.is_empty():
        return 0
    stage = stage_rows(connection, settings, of, keys)
    # Only what may be null is compared as if nulls were equal: no index, and no hash, helps to do that.
    *first, last = of.key if of.null_in_key else (*of.key, None)
    parts = [_each("t.{0} = s.{0}", list(filter(None, first)), " AND ")]
    if last is not None:
        parts.append(_each("t.{0} IS NOT DISTINCT FROM s.{0}", [last]))
    same = sql.SQL(" AND ").join(parts)
    return connection.execute(
        compose("rollup_io.remove", table=job_table(settings, of.name), stage=stage, same=same)
    ).rowcount


def _each(pattern: str, names: Sequence[str], between: str = ", ") -> sql.Composed:
    return sql.SQL(between).join(sql.SQL(pattern).format(sql.Identifier(name)) for name in names)


def stage_rows(connection: Connection, settings: Settings, of: Table, rows: pl.DataFrame) -> sql.Identifier:
    """A temporary table of the rows, gone with the transaction; dropped first, for a batch may stage twice."""
    stage = sql.Identifier(f"usage_jobs_{of.name}")
    # In one round trip: a server far away makes each of them dear.
    text = "DROP TABLE IF EXISTS pg_temp.{0}; CREATE TEMP TABLE {0} ON COMMIT DROP AS SELECT {1} FROM {2} WITH NO DATA"
    connection.execute(sql.SQL(text).format(stage, column_list(rows.columns), job_table(settings, of.name)))
    copy_in(connection, stage, rows)
    return stage


def copy_in(connection: Connection, stage: sql.Identifier, rows: pl.DataFrame) -> None:
    """COPY of a frame into a stage whose columns are named as the frame's."""
    text = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(stage, column_list(rows.columns))
    with copying(connection, text) as copy:
        # A million rows at a time: the text of a whole batch would double its memory.
        for piece in rows.iter_slices(200_000):
            copy.write(piece.with_columns(_outward(piece)).write_csv(include_header=False).encode())


def _outward(piece: pl.DataFrame) -> list[pl.Expr | pl.Series]:
    outward: list[pl.Expr | pl.Series] = []
    for name, kind in piece.schema.items():
        if kind == pl.Int128:
            outward.append(in_decimals(name))
        elif kind == pl.UInt128:
            # Without its dashes the server takes it as well, and it is made five times as fast.
            texts = [None if number is None else f"{number:032x}" for number in piece[name]]
            outward.append(pl.Series(name, texts, dtype=pl.String))
    return outward

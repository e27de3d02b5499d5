"""Reads the job's tables into frames, and writes rows to them by way of COPY into a temporary table.

Frames have amounts as Int128 units of 10^-10, and uuids as UInt128. The table's definition (``domain.tables.Table``)
gives the type of each column.

SELECT, CREATE TABLE and COPY are composed here: their lists of columns depend on the configured meters.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import date
from io import BytesIO

import polars as pl
from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.fixed_point import PLACES
from jobs.domain.schemas import Schema, in_decimals
from jobs.domain.tables import AMOUNT, Table, tables
from jobs.postgres.connections import Connection, open_copy, read_csv_blocks
from jobs.postgres.errors import name_refusals
from jobs.postgres.sql_loader import column_list, compose, in_spans, job_table, join_columns, raw, text_array
from jobs.settings import Settings

_FRAME_TYPES: Schema = {
    "date": pl.Date,
    "numeric": pl.Int128,
    "integer": pl.Int64,
    "bigint": pl.Int64,
    "uuid": pl.UInt128,
    "uuid[]": pl.String,
    "text": pl.String,
    "boolean": pl.Boolean,
}
_SQL_TYPES = {pl.Date: "date", pl.Int128: "numeric", pl.Int64: "bigint", pl.UInt128: "uuid", pl.Boolean: "boolean"}
"""Types of staged columns; all others are text."""


def find_table(settings: Settings, name: str) -> Table:
    """Returns the definition of one of the job's tables."""
    return next(table for table in tables(settings.meters) if table.name == name)


def read_months(
    connection: Connection, settings: Settings, of: Table, months: Iterable[date], users: Collection[str] | None = None
) -> pl.DataFrame:
    """Returns the computed columns of the rows of ``months`` (of ``users``). Needs an open transaction."""
    condition = in_spans(of.key[0], month_spans(months))
    if users is not None:
        condition += sql.SQL(" AND user_id = ANY({})").format(text_array(users))
    return read_rows(connection, settings, of, condition)


def read_rows(connection: Connection, settings: Settings, of: Table, condition: sql.Composable) -> pl.DataFrame:
    """Returns the computed columns of the rows that satisfy ``condition``. Needs an open transaction."""
    table = job_table(settings, of.name)
    text = sql.SQL("SELECT {} FROM {} WHERE {}").format(column_list(of.computed), table, condition)
    return read_frame(connection, text, frame_schema(of, of.computed))


def frame_schema(of: Table, names: Iterable[str]) -> Schema:
    """Returns the schema of a frame with the columns ``names`` of a table."""
    return {name: _FRAME_TYPES[of.kind(name).split("(")[0]] for name in names}


def read_frame(connection: Connection, text: sql.Composable, schema: Schema) -> pl.DataFrame:
    """Returns the rows of a query with the columns of ``schema``, by COPY, which takes no bound values. Needs an open
    transaction."""
    return pl.concat(parse_block(block, schema) for block in read_csv_blocks(connection, text))


def id_number(column: str) -> pl.Expr:
    """Returns a column of uuids as numbers: a third of the memory of text, and fast to sort."""
    return (
        pl.col(column).cast(pl.String).str.replace_all("-", "", literal=True).str.to_integer(base=16, dtype=pl.UInt128)
    )


_CSV: dict[object, tuple[pl.DataType | type[pl.DataType], Callable[[str], pl.Expr]]] = {
    pl.Int128: (pl.Decimal(38, PLACES), lambda name: pl.col(name).to_physical()),
    pl.UInt128: (pl.String, id_number),
    pl.Boolean: (pl.String, lambda name: pl.col(name) == "t"),
}
"""How a column is read of CSV, where not as the type that it has in a frame, and what makes that type of it."""


def parse_block(block: BytesIO, schema: Schema) -> pl.DataFrame:
    """Returns CSV of COPY, without a header, as a frame with the columns of ``schema``."""
    texts = {name: _CSV[kind][0] if kind in _CSV else kind for name, kind in schema.items()}
    is_empty = not block.getbuffer().nbytes
    frame = pl.DataFrame(schema=texts) if is_empty else pl.read_csv(block, has_header=False, schema=texts)
    return frame.with_columns(_CSV[kind][1](name) for name, kind in schema.items() if kind in _CSV)


def insert(connection: Connection, settings: Settings, of: Table, rows: pl.DataFrame, run_id: int) -> int:
    """Inserts rows with new keys, in the caller's transaction. Returns how many."""
    if rows.is_empty():
        return 0
    # A third of the columns is 0 in every row (unused meters), which is also the default: these columns are not sent.
    amounts = [name for name, kind in rows.schema.items() if kind == pl.Int128 and of.columns[name] == AMOUNT]
    sent = rows.drop(name for name in amounts if not (rows[name] != 0).any())
    sent = sent.sort(name for name in of.key if name != "run_id")
    stage = _stage_of(connection, of, sent)
    text = compose(
        "table_io.insert", table=job_table(settings, of.name), columns=column_list(sent.columns), stage=stage
    )
    with name_refusals(f"{settings.rollup_schema}.{of.name}"):
        return connection.execute(text, {"run_id": run_id}).rowcount


def upsert(
    connection: Connection,
    settings: Settings,
    of: Table,
    rows: pl.DataFrame,
    run_id: int,
    closed: Collection[date] = (),
) -> int:
    """Inserts or replaces rows by key, in the caller's transaction. Returns how many were written.

    ``closed``: closed months, in which a replaced row of user_monthly gets its next revision.
    """
    if rows.is_empty():
        return 0
    values = [name for name in rows.columns if name not in of.key]
    stage, revised = _stage_of(connection, of, rows), closed and "revision" in of.columns
    text = compose(
        "table_io.upsert",
        table=job_table(settings, of.name),
        columns=column_list(rows.columns),
        stage=stage,
        key=column_list(of.key),
        assignments=join_columns("{0} = EXCLUDED.{0}", values),
        revision=sql.SQL("revision = t.revision + (t.month = ANY(%(closed)s))::integer, " if revised else ""),
        updated=sql.SQL(", updated_at = now()" if "updated_at" in of.columns else ""),
        stored=join_columns("t.{0}", values),
        excluded=join_columns("EXCLUDED.{0}", values),
    )
    with name_refusals(f"{settings.rollup_schema}.{of.name}"):
        return connection.execute(text, {"run_id": run_id, "closed": list(closed)}).rowcount


def remove(connection: Connection, settings: Settings, of: Table, keys: pl.DataFrame) -> int:
    """Deletes rows by key, in the caller's transaction. Returns how many."""
    if keys.is_empty():
        return 0
    stage = _stage_of(connection, of, keys)
    # Only a column that may be null is compared with IS NOT DISTINCT FROM: it can use neither index nor hash.
    same = [
        sql.SQL("t.{0} IS NOT DISTINCT FROM s.{0}" if of.may_be_null(name) else "t.{0} = s.{0}").format(
            sql.Identifier(name)
        )
        for name in of.key
    ]
    return connection.execute(
        compose("table_io.remove", table=job_table(settings, of.name), stage=stage, same=sql.SQL(" AND ").join(same))
    ).rowcount


def stage_rows(
    connection: Connection, name: str, rows: pl.DataFrame, kinds: dict[str, str] | None = None
) -> sql.Identifier:
    """Copies ``rows`` to the temporary table usage_jobs_``name``, which is dropped at the end of the transaction.

    ``kinds``: types of columns, where they do not follow from the frame. Returns the table's name.
    """
    stage = sql.Identifier(f"usage_jobs_{name}")
    types = {column: _SQL_TYPES.get(kind.base_type(), "text") for column, kind in rows.schema.items()} | (kinds or {})
    columns = [sql.SQL("{} {}").format(sql.Identifier(column), raw(types[column])) for column in rows.columns]
    # Dropped first, because a batch may stage rows of the same table twice; in one round trip, which is slow to a
    # distant server.
    text = "DROP TABLE IF EXISTS pg_temp.{0}; CREATE TEMP TABLE {0} ({1}) ON COMMIT DROP"
    connection.execute(sql.SQL(text).format(stage, sql.SQL(", ").join(columns)))
    copy_in(connection, stage, rows)
    return stage


def _stage_of(connection: Connection, of: Table, rows: pl.DataFrame) -> sql.Identifier:
    return stage_rows(connection, of.name, rows, {name: of.kind(name) for name in rows.columns})


def copy_in(connection: Connection, stage: sql.Identifier, rows: pl.DataFrame) -> None:
    """Copies a frame to the table ``stage``, which has columns of the same names."""
    text = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(stage, column_list(rows.columns))
    with open_copy(connection, text) as copy:
        # In slices: the text of a whole batch would double its memory.
        for piece in rows.iter_slices(200_000):
            copy.write(to_server(piece).write_csv(include_header=False).encode())


def to_server(rows: pl.DataFrame) -> pl.DataFrame:
    """Returns ``rows`` with amounts as decimals, and with ids as text."""
    # The server accepts a uuid without dashes, and it is formatted five times as fast.
    ids = [name for name, kind in rows.schema.items() if kind == pl.UInt128]
    texts = {name: [None if number is None else f"{number:032x}" for number in rows[name]] for name in ids}
    amounts = [in_decimals(name) for name, kind in rows.schema.items() if kind == pl.Int128]
    return rows.with_columns(*amounts, *(pl.Series(name, text, dtype=pl.String) for name, text in texts.items()))

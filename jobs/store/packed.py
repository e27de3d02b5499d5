"""Usage read many rows at a time: the server puts the values of each column one after the other, as bytes.

A row by itself costs the driver a microsecond, and as much again wherever it is taken apart; values in one long string
of bytes cost a few nanoseconds each. Every arm of a read (``arms``) becomes one such row.

Numerics travel as the text that the server has for them: to have it multiply and round each of them (``rounded``) costs
it more than all other columns together, and is needed only where one of an arm has more decimals, or digits, than ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from psycopg import sql

from jobs.store.database import Connection, copying
from jobs.store.statements import source, statement
from jobs.store.unpacked import FLAGS, NULLS, SEPARATOR, Flag, unpacked
from jobs.store.usage import UsageQuery

NOTHING = "00000000-0000-0000-0000-000000000000"
_FLAGS = (
    "CASE WHEN hopsworks_cluster_id IS NOT NULL AND user_id IS NOT NULL AND NOT coalesce({reported}, false)"
    " THEN decode('00', 'hex') ELSE set_byte(decode('00', 'hex'), 0,"
    " (hopsworks_cluster_id IS NULL)::integer * {no_cluster} + coalesce({reported}, false)::integer * {was_reported}"
    " + (user_id IS NULL)::integer * {no_user}) END"
)


def frames(
    connection: Connection, query: UsageQuery, some: Sequence[sql.Composed], *, rounded: bool = False
) -> Iterator[pl.DataFrame | sql.Composed]:
    """The rows of some arms, by one statement: frames of whole rows as ``frames.usage_schema``, in whatever order: a
    server with workers of its own gives an arm when it is ready. Of an arm that cannot be unpacked, its condition."""
    packing = _Packing(query, _columns(query, rounded=rounded), {} if rounded else query.decimals())
    text = sql.SQL(" UNION ALL ").join(packing.select(number, rows) for number, rows in enumerate(some))
    with copying(connection, sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(text)) as copy:
        copy.set_types(packing.types)
        # Not before the next row is here: see database.blocks.
        rows = copy.rows()
        held = next(rows)
        for row in rows:
            yield packing.frame(held, some)
            held = row
    yield packing.frame(held, some)


@dataclass(frozen=True, slots=True)
class _Packing:
    """``columns``: what travels as bytes, by column of the frame its value, all of one length; ``texts``: what
    travels as text, a line for each row."""

    query: UsageQuery
    columns: Mapping[str, sql.Composable]
    texts: Mapping[str, sql.Composable]

    @property
    def types(self) -> list[str]:
        return ["int8", "int8", *("bytea" for _ in self.columns), *(["bytea"] if self.texts else []), "text"]

    def select(self, number: int, rows: sql.Composed) -> sql.Composed:
        strings = [sql.SQL("string_agg({}, ''::bytea)").format(value) for value in self.columns.values()]
        if self.texts:
            # concat, not concat_ws: that would leave nulls out.
            line = sql.SQL(", ',', ").join(self.texts.values())
            strings.append(sql.SQL("string_agg(concat({}), E'\n')").format(line))
        return statement(
            "usage_packed",
            number=sql.Literal(number),
            packed=sql.SQL(", ").join(strings),
            separator=sql.Literal(SEPARATOR),
            usage=source(self.query.settings, "usage_daily"),
            filter=rows,
        )

    def frame(self, row: tuple[Any, ...], some: Sequence[sql.Composed]) -> pl.DataFrame | sql.Composed:
        number, count, *values, users = row
        lines = values.pop() if self.texts else None
        columns = dict(zip(self.columns, values, strict=True))
        frame = unpacked(self.query, count, columns, users, list(self.texts), lines)
        return some[number] if frame is None else frame


def _columns(query: UsageQuery, *, rounded: bool) -> dict[str, sql.Composable]:
    bits = {"no_cluster": Flag.NO_CLUSTER, "was_reported": Flag.REPORTED, "no_user": Flag.NO_USER}
    version = {"version": sql.SQL("xidsend(xmin)")} if query.versions else {}
    return {
        "id": sql.SQL("uuid_send(id)"),
        "date": sql.SQL("date_send(date)"),
        "cluster_id": sql.SQL("uuid_send(coalesce(hopsworks_cluster_id, {}))").format(NOTHING),
        FLAGS: sql.SQL(_FLAGS).format(reported=query.reported, **{name: int(bit) for name, bit in bits.items()}),
        **version,
        **(_rounded(query) if rounded else _counts(query)),
    }


def _rounded(query: UsageQuery) -> dict[str, sql.Composable]:
    numbers = {
        name: sql.SQL("coalesce({}, {})").format(value, sql.Literal(NULLS[name])) if name in NULLS else value
        for name, value in query.numbers().items()
    }
    return {name: sql.SQL("int8send({})").format(value) for name, value in numbers.items()}


def _counts(query: UsageQuery) -> dict[str, sql.Composable]:
    return {name: sql.SQL("int8send(coalesce({}, 0))").format(value) for name, value in query.counts().items()}

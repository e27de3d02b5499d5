"""Reads the rows of exports: one query per month, with names and billing modes joined on the server.

COPY takes no bound values: months, ids and currencies are composed into its text as literals.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import Any
from uuid import UUID

from psycopg import sql

from jobs.domain.billing_periods import days_in, last_of
from jobs.domain.fixed_point import ONE
from jobs.domain.meters import days_of
from jobs.postgres.connections import Connection, read_csv_blocks, read_value
from jobs.postgres.export_kinds import NAMED, ExportColumn, ExportKind, find_kind
from jobs.postgres.people import find_readable_columns, join_people
from jobs.postgres.sql_loader import compose, raw, read_queries, text_array
from jobs.settings import Settings

_FORMATS = {"moment": """to_char(g.{} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""}
_AMOUNT = "trim_scale(g.{})"  # most amounts are 0: ten zeros each would double what crosses the network


@dataclass(frozen=True, slots=True)
class MonthOfExport:
    """A month of an export: its first day, its currency, and whether it is closed."""

    month: date
    currency: str
    is_closed: bool


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """What to read: ``by``, the ``kind`` of its rows, their ``columns`` with names, and only these users and clusters
    (None: all)."""

    settings: Settings
    by: str
    kind: ExportKind
    columns: tuple[ExportColumn, ...]
    users: Collection[str] | None = None
    clusters: Collection[UUID | None] | None = None


def make_query(
    connection: Connection,
    settings: Settings,
    by: str,
    users: Collection[str] | None,
    clusters: Collection[UUID | None] | None,
    *,
    with_names: bool,
) -> ExportQuery:
    """Returns the query of ``--by by``, with the names and e-mail addresses that this role may read beside ids."""
    kind = find_kind(by, settings.meters)
    readable: dict[str, Collection[str]] = {}
    if with_names:
        readable = {"user_id": find_readable_columns(connection, settings), "cluster_id": ("name",)}
    columns: list[ExportColumn] = []
    for column in kind.columns:
        may_read = readable.get(column.name, ())
        names = (name for what, name in NAMED.get(column.name, {}).items() if what in may_read)
        columns += [column, *(ExportColumn(name, "text") for name in names)]
    return ExportQuery(settings, by, kind, tuple(columns), users, clusters)


def find_hidden_names(query: ExportQuery) -> list[str]:
    """Returns the columns of names and e-mail addresses beside user ids that the query lacks."""
    names = [column.name for column in query.columns]
    return [name for name in NAMED["user_id"].values() if "user_id" in names and name not in names]


def read_blocks(connection: Connection, query: ExportQuery, of: MonthOfExport) -> Iterator[BytesIO]:
    """Yields the rows of a month as CSV, sorted by key, in blocks of whole rows. Needs an open transaction."""
    names = [column.name for column in query.columns]
    columns = sql.SQL(", ").join(_column(column, of) for column in query.columns)
    joins = sql.SQL(" ").join(_joins(query, names, of.month))
    order = sql.SQL(", ").join(_ordered(column) for column in query.kind.columns if column.name in query.kind.key)
    parts = {"rows": _rows(query, of.month), "columns": columns, "joins": joins, "key": order}
    return read_csv_blocks(connection, compose("exports.export", query.settings, **parts))


def count_rows(connection: Connection, query: ExportQuery, months: Sequence[MonthOfExport]) -> int:
    """Returns how many rows the export has. Needs an open transaction."""
    texts = (compose("exports.count", query.settings, rows=_rows(query, of.month)) for of in months)
    return sum(read_value(connection, text) for text in texts)


def find_short_months(connection: Connection, query: ExportQuery, months: Sequence[date]) -> list[date]:
    """Returns the months that a sum over user_daily lacks, at least in part."""
    text = compose("exports.months_without_days", query.settings)
    return [month for (month,) in connection.execute(text, _span(months)).fetchall()]


def find_ids_without_usage(connection: Connection, query: ExportQuery, months: Sequence[date]) -> list[str]:
    """Returns the users and clusters asked for that have no usage in these months."""
    asked = {"users": query.users, "clusters": query.clusters}
    found: list[str] = []
    for name, ids in asked.items():
        text = compose(f"exports.{name}_without_usage", query.settings)
        values = {"ids": list(ids or ()), "months": list(months)}
        found += ["none" if each is None else str(each) for (each,) in connection.execute(text, values).fetchall()]
    return found


def has_touched_days(connection: Connection, settings: Settings, months: Sequence[date]) -> bool:
    """Returns whether the cluster tables wait for days that user_daily has."""
    return bool(read_value(connection, compose("exports.has_touched_days", settings), _span(months)))


def _span(months: Sequence[date]) -> dict[str, Any]:
    return {"months": list(months), "first": months[0], "last_day": last_of(months[-1])}


def _rows(query: ExportQuery, month: date) -> sql.Composed:
    """Returns the query of the rows of ``month``, without names."""
    names = query.kind.names
    parts: dict[str, sql.Composable] = {
        "month": sql.Literal(month),
        "last_day": sql.Literal(last_of(month)),
        "filter": _filter(query),
        "stored": sql.SQL(", ").join(sql.Identifier("u", name) for name in names if name not in _NOT_STORED),
        "sums": sql.SQL(", ").join(_sum(column, names, month) for column in query.kind.columns if column.adds_up),
    }
    return compose(f"exports.{query.by.replace(',', '_')}", query.settings, **parts)


_NOT_STORED = ("currency", "closed", "corrections")
"""Columns of the exports of user_monthly and cluster_monthly that are no columns of these tables."""
_JOINED = {"billing_mode": "m", "cluster_name": "c", "user_name": "p", "user_email": "p"}
"""Columns that are joined to the rows, and the name of what they are joined from."""


def _sum(column: ExportColumn, names: Sequence[str], month: date) -> sql.Composed:
    """Returns the sum of a column of user_daily; of a level by month also in GB-months."""
    name = sql.Identifier(column.name)
    summed = sql.SQL("sum(u.{})")
    if days_of(column.name) in names:
        units = summed.format(name) + sql.SQL(" * {}").format(sql.Literal(ONE))
        value: sql.Composable = compose("exports.gb_months", units=units, days=sql.Literal(days_in(month)))
    else:
        value = summed.format(sql.Identifier(_level_of(column.name, names)))
    return sql.SQL("{} AS {}").format(value, name)


def _level_of(name: str, names: Sequence[str]) -> str:
    """Returns the column of user_daily that ``name`` sums over days: that of a level for its ``_days``, else itself."""
    level = name.removesuffix("_days")
    return level if level != name and level in names and days_of(level) == name else name


def _filter(query: ExportQuery) -> sql.Composed:
    conditions = [raw("true")]
    if query.users is not None:
        conditions.append(sql.SQL("u.user_id = ANY({})").format(text_array(query.users)))
    if query.clusters is not None:
        ids = sorted(str(each) for each in query.clusters if each is not None)
        text = "(u.cluster_id = ANY({}::uuid[]) OR {} AND u.cluster_id IS NULL)"
        conditions.append(sql.SQL(text).format(sql.Literal(ids), sql.Literal(None in query.clusters)))
    return sql.SQL(" AND ").join(conditions)


def _column(column: ExportColumn, of: MonthOfExport) -> sql.Composable:
    constants = {"currency": of.currency, "closed": of.is_closed}
    if column.name in constants:
        return sql.Literal(constants[column.name])
    if column.name in _JOINED:
        return sql.Identifier(_JOINED[column.name], column.name)
    if column.is_amount:
        return sql.SQL(_AMOUNT).format(sql.Identifier(column.name))
    return sql.SQL(_FORMATS.get(column.values, "g.{}")).format(sql.Identifier(column.name))


def _joins(query: ExportQuery, names: Sequence[str], month: date) -> Iterator[sql.Composed]:
    for name in _JOINED:
        if name in names and name in read_queries("exports"):
            yield compose(f"exports.{name}", query.settings, month=sql.Literal(month))
    if people := [what for what, name in NAMED["user_id"].items() if name in names]:
        yield join_people(query.settings, people)


def _ordered(column: ExportColumn) -> sql.Composable:
    """Returns a column of the key to sort by; text by its bytes, so that every server gives the same order."""
    name = sql.Identifier("g", column.name)
    return sql.SQL('{} COLLATE "C"').format(name) if column.name == "user_id" else name

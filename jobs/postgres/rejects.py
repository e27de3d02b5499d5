"""What was not billed: ``rollup.rejects``, rows that cannot be priced; ``rollup.set_aside``, users of whom a run wrote
nothing; each with the reason."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from psycopg import sql

from jobs.domain.tables import USAGE_COLUMNS
from jobs.postgres.connections import Connection, read_value
from jobs.postgres.sql_loader import bind_columns, compose, in_spans
from jobs.postgres.usage_query import UsageQuery
from jobs.settings import Settings

Spans = Sequence[tuple[date, date]]
"""First and last days."""
CHANGED = "the row changed while it was read: the next run reads it again"
"""The reason of a row that is valid now."""
LONGEST = len("-99999999999999999999.9999999999")
"""Longer numbers are shown by their first digits."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row of usage_daily that cannot be priced: its id, the reason, and the row as JSON text."""

    id: str
    reason: str
    row: str


@dataclass(frozen=True, slots=True)
class RejectChange:
    """A row of rollup.rejects to insert, update or delete: its user, its text before (``old``; None: no row), and the
    ``reject`` to write (None: delete)."""

    id: str
    user: str | None
    old: str | None
    reject: Reject | None

    @property
    def new(self) -> str | None:
        """Its text after the change; None: no row."""
        return None if self.reject is None else f"{self.reject.reason} {self.reject.row}"


def find_ownerless_rows(connection: Connection, settings: Settings, spans: Spans) -> list[str]:
    """Returns the ids of rows without a day, or without a user on the days of ``spans``."""
    text = compose("rejects.ownerless", settings, days=in_spans("date", spans))
    return [str(id_) for (id_,) in connection.execute(text)]


def read_rejects(connection: Connection, query: UsageQuery, ids: Collection[str]) -> list[Reject]:
    """Returns the rows ``ids`` as they are now, each with its reason. A row deleted since is left out."""
    if not ids:
        return []
    text = compose("rejects.reject_rows", query.settings, row=_row_as_json(query))
    found = connection.execute(text, {"ids": list(ids)}).fetchall()
    return [Reject(id_, _find_reason(query, row) or CHANGED, row) for id_, row in found]


def read_outdated(connection: Connection, query: UsageQuery, spans: Spans) -> list[Reject]:
    """Returns rejects on the days of ``spans`` whose row has changed since it was stored."""
    text = compose("rejects.outdated", query.settings, days=in_spans("date", spans), row=_row_as_json(query))
    ids = [id_ for (id_,) in connection.execute(text)]
    return [found for found in read_rejects(connection, query, ids) if found.reason != CHANGED]


def _row_as_json(query: UsageQuery) -> sql.Composed:
    """Returns the columns that the job reads of a row of usage_daily, ``u``, as a JSON expression."""
    names = [each.column for each in USAGE_COLUMNS.values()]
    names += ["total_cost", *(meter.column for meter in query.meters)]
    fields = sql.SQL(", ").join(sql.Identifier("u", name) for name in dict.fromkeys(names))
    # Not jsonb_build_object: a function takes 100 arguments at most.
    return sql.SQL("(SELECT to_jsonb(f) FROM (SELECT {}) AS f)").format(fields)


def _find_reason(query: UsageQuery, text: str) -> str | None:
    """Returns why a row (JSON text) is not valid: the column, its value, what was expected. None if it is valid."""
    row = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    if row["user_id"] is None:
        return "user_id is null: expected the user who is to pay"
    if row["date"] is None or "infinity" in row["date"]:
        return f"date is {row['date'] or 'null'}: expected a day"
    most = query.settings.max_quantity
    is_ours = any(row["date"].startswith(f"{month:%Y-%m}-") for month in query.rated)
    for name in (*(meter.column for meter in query.meters), *(() if is_ours else ("total_cost",))):
        value = row[name]
        number = Decimal(value or 0)
        if not number.is_finite() or not 0 <= number <= most:
            shown = str(value) if len(str(value)) <= LONGEST else f"{value:.3e}"
            return f"{name} is {shown}: expected a number from 0 to {format(most.normalize(), 'f')}"
    return None


def find_user_changes(
    connection: Connection, settings: Settings, rejects: Sequence[Reject], users: Collection[str], spans: Spans
) -> list[RejectChange]:
    """Returns the changes after which the table has exactly ``rejects`` of ``users`` on the days of ``spans``."""
    stored = compose("rejects.of_users", settings, days=in_spans("date", spans))
    return _find_changes(connection, rejects, stored, _bind_spans(spans) | {"users": sorted(users)})


def find_ownerless_changes(
    connection: Connection, settings: Settings, rejects: Sequence[Reject], spans: Spans
) -> list[RejectChange]:
    """Returns the changes after which the table has exactly ``rejects`` of rows without a user or a day. Stored rejects
    of rows that have moved into ``spans`` and are valid now are deleted, too."""
    return _find_changes(connection, rejects, compose("rejects.stored_ownerless", settings), _bind_spans(spans))


def _bind_spans(spans: Spans) -> dict[str, list[str]]:
    # Rejects store a day as text, because it may be infinite.
    return bind_columns("firsts lasts", ((str(first), str(last)) for first, last in spans))


def _bind_rejects(rejects: Sequence[Reject]) -> dict[str, list[str]]:
    return bind_columns("ids reasons rows", ((reject.id, reject.reason, reject.row) for reject in rejects))


def _find_changes(
    connection: Connection, rejects: Sequence[Reject], stored: sql.Composed, values: Mapping[str, list[str]]
) -> list[RejectChange]:
    """Compares ``rejects`` with the ``stored`` ones: the query of the stored rejects in question."""
    by_id = {reject.id: reject for reject in rejects}
    found = connection.execute(compose("rejects.changes", stored=stored), {**values, **_bind_rejects(rejects)})
    return [RejectChange(id_, user, old, by_id.get(id_)) for id_, user, old in found]


def count_change(change: RejectChange) -> int:
    """Returns by how many rows a change makes the table longer."""
    return -1 if change.reject is None else int(change.old is None)


def write_rejects(connection: Connection, settings: Settings, changes: Sequence[RejectChange]) -> None:
    """Writes ``changes`` to rollup.rejects, in the caller's transaction."""
    gone = [change.id for change in changes if change.reject is None]
    come = [change.reject for change in changes if change.reject is not None]
    if gone:
        connection.execute(compose("rejects.remove", settings), {"ids": gone})
    if come:
        connection.execute(compose("rejects.upsert", settings), _bind_rejects(come))


def count_rejects(connection: Connection, settings: Settings, spans: Spans) -> int:
    """Returns how many rows are rejected, on the days of ``spans`` or without a day."""
    return int(read_value(connection, compose("rejects.count", settings), _bind_spans(spans)))


def add_set_aside(connection: Connection, settings: Settings, reasons: Mapping[str, str], run_id: int) -> None:
    """Adds users with their ``reasons`` to rollup.set_aside, in the caller's transaction. Known users keep `since`."""
    values = bind_columns("users reasons", reasons.items())
    connection.execute(compose("set_aside.upsert", settings), {**values, "run_id": run_id})


def remove_set_aside(
    connection: Connection, settings: Settings, users: Collection[str] | None, *, remaining: Collection[str]
) -> None:
    """Removes ``users`` (None: all) except ``remaining`` from rollup.set_aside, in the caller's transaction."""
    text = compose("set_aside.remove", settings)
    connection.execute(text, {"users": None if users is None else list(users), "remaining": list(remaining)})


def list_set_aside(connection: Connection, settings: Settings) -> dict[str, str]:
    """Returns the users who are set aside, with the reason."""
    return dict(connection.execute(compose("set_aside.list", settings)).fetchall())

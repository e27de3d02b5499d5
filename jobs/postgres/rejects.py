"""What was not billed: ``rollup.rejects``, rows that cannot be priced; ``rollup.set_aside``, users of whom a run wrote
nothing; each with the reason."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from psycopg import sql

from jobs.postgres.connections import Connection, read_value
from jobs.postgres.sql_loader import compose, in_spans
from jobs.postgres.usage_query import UsageQuery
from jobs.settings import Settings

Spans = Sequence[tuple[date, date]]
"""First and last days."""
CHANGED = "the row changed while it was read: the next run reads it again"
"""The reason of a row that is valid now."""


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


def read_rejects(connection: Connection, query: UsageQuery, ids: Collection[str]) -> list[Reject]:
    """Returns the rows ``ids`` as they are now, each with its reason. A row deleted since is left out."""
    found = connection.execute(query.reject_rows_query(), {"ids": list(ids)}).fetchall() if ids else []
    return [Reject(id_, query.find_reason(_load_row(text)) or CHANGED, text) for id_, text in found]


def read_outdated(connection: Connection, query: UsageQuery, spans: Spans) -> list[Reject]:
    """Returns rejects on the days of ``spans`` whose row has changed since it was stored."""
    ids = [row[0] for row in connection.execute(query.outdated_rejects_query(spans))]
    return [found for found in read_rejects(connection, query, ids) if found.reason != CHANGED]


def _load_row(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return loaded


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
    return {"firsts": [str(first) for first, _ in spans], "lasts": [str(last) for _, last in spans]}


def _find_changes(
    connection: Connection, rejects: Sequence[Reject], stored: sql.Composed, values: Mapping[str, list[str]]
) -> list[RejectChange]:
    """Compares ``rejects`` with the ``stored`` ones: the query of the stored rejects in question."""
    by_id = {reject.id: reject for reject in rejects}
    found = connection.execute(compose("rejects.changes", stored=stored), {**values, **_bind_rejects(rejects)})
    return [RejectChange(id_, user, old, by_id.get(id_)) for id_, user, old in found]


def _bind_rejects(rejects: Sequence[Reject]) -> dict[str, list[str]]:
    return {
        "ids": [reject.id for reject in rejects],
        "reasons": [reject.reason for reject in rejects],
        "rows": [reject.row for reject in rejects],
    }


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
    text = compose("set_aside.upsert", settings)
    connection.execute(text, {"users": list(reasons), "reasons": list(reasons.values()), "run_id": run_id})


def remove_set_aside(
    connection: Connection, settings: Settings, users: Collection[str] | None, *, remaining: Collection[str]
) -> None:
    """Removes ``users`` (None: all) except ``remaining`` from rollup.set_aside, in the caller's transaction."""
    text = compose("set_aside.remove", settings)
    connection.execute(text, {"users": None if users is None else list(users), "remaining": list(remaining)})


def list_set_aside(connection: Connection, settings: Settings) -> dict[str, str]:
    """Returns the users who are set aside, with the reason."""
    return dict(connection.execute(compose("set_aside.list", settings)).fetchall())

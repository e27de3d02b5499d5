"""What was not billed: ``rollup.rejects``, rows that cannot be priced, each with the reason and the row; and
``rollup.set_aside``, users of whom a run wrote nothing, and why."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from psycopg import sql

from jobs.postgres.connections import Connection
from jobs.postgres.sql_loader import app_table, compose, in_spans, job_table
from jobs.postgres.usage_query import UsageQuery
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class Reject:
    """A row of usage_daily that cannot be taken: its id, why, and the row as JSON text."""

    id: str
    reason: str
    row: str


@dataclass(frozen=True, slots=True)
class RejectChange:
    """A row of rollup.rejects that comes, changes or goes: whose usage it is, what it says and shall say, and the
    ``reject`` that it becomes (None: it goes)."""

    id: str
    user: str | None
    old: str | None
    new: str | None
    reject: Reject | None


def read_rejects(connection: Connection, query: UsageQuery, ids: Collection[str]) -> list[Reject]:
    """The rows ``ids`` as they are now, each with its reason; a row deleted since is none."""
    if not ids:
        return []
    found: list[tuple[str, str]] = connection.execute(query.reject_rows(), {"ids": list(ids)}).fetchall()
    return [Reject(id_, query.reason(_loaded(text)), text) for id_, text in found]


def read_outdated(connection: Connection, query: UsageQuery, spans: Sequence[tuple[date, date]]) -> list[Reject]:
    """Rejects on the days of ``spans`` of which the table does not show what the row says now."""
    ids = [row[0] for row in connection.execute(query.outdated_rejects(spans))]
    return [found for found in read_rejects(connection, query, ids) if not query.is_priceable(_loaded(found.row))]


def _loaded(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return loaded


def changes_of_users(
    connection: Connection,
    settings: Settings,
    rejects: Sequence[Reject],
    users: Collection[str],
    spans: Sequence[tuple[date, date]],
) -> list[RejectChange]:
    """What makes the table hold just ``rejects`` of ``users`` on the days of ``spans``."""
    text = compose(
        "rejects.of_users",
        rejects=job_table(settings, "rejects"),
        users=sql.SQL("%(users)s::text[]"),  # bound, not composed: a user's id may hold a %
        usage=app_table(settings, "usage_daily"),
        days=in_spans("date", spans),
    )
    days = {"firsts": [str(first) for first, _ in spans], "lasts": [str(last) for _, last in spans]}
    found = connection.execute(
        text, {"ids": [reject.id for reject in rejects], "users": sorted(users), **days}
    ).fetchall()
    return _changes(rejects, found)


def changes_without_owner(
    connection: Connection,
    settings: Settings,
    rejects: Sequence[Reject],
    spans: Sequence[tuple[date, date]],
) -> list[RejectChange]:
    """What makes the table hold just ``rejects`` of rows without a user or a day; and those go of rows that have moved
    into ``spans`` from elsewhere and are none any more."""
    text = compose(
        "rejects.without_owner", rejects=job_table(settings, "rejects"), usage=app_table(settings, "usage_daily")
    )
    days = {"firsts": [first for first, _ in spans], "lasts": [last for _, last in spans]}
    found = connection.execute(text, {"ids": [reject.id for reject in rejects], **days}).fetchall()
    return _changes(rejects, found)


def _changes(rejects: Sequence[Reject], found: Sequence[tuple[str, str | None, str]]) -> list[RejectChange]:
    """``found``: id, user and text of each row that the table holds, of those in question."""
    stored = {id_: (user, text) for id_, user, text in found}
    ids = {reject.id for reject in rejects}
    gone = [RejectChange(id_, user, text, None, None) for id_, (user, text) in stored.items() if id_ not in ids]
    come = []
    for reject in rejects:
        _, old = stored.get(reject.id, (None, None))
        new = f"{reject.reason} {reject.row}"
        if old is None or not _is_same(old, reject):
            come.append(RejectChange(reject.id, _loaded(reject.row)["user_id"], old, new, reject))
    return [*gone, *come]


def _is_same(stored: str, reject: Reject) -> bool:
    """Whether the table holds the reject: 12.50 is 12.5, as it is to the server."""
    reason, row = stored[: len(reject.reason)], stored[len(reject.reason) + 1 :]
    return reason == reject.reason and row.startswith("{") and _loaded(row) == _loaded(reject.row)


def count_change(change: RejectChange) -> int:
    """By how much a change makes the table longer."""
    return -1 if change.reject is None else int(change.old is None)


def write_rejects(connection: Connection, settings: Settings, changes: Sequence[RejectChange]) -> None:
    """Makes these changes, in the caller's transaction."""
    table = job_table(settings, "rejects")
    gone = [change.id for change in changes if change.reject is None]
    come = [change.reject for change in changes if change.reject is not None]
    if gone:
        connection.execute(compose("rejects.heal", rejects=table), {"ids": gone})
    if come:
        rows = {"ids": [r.id for r in come], "reasons": [r.reason for r in come], "rows": [r.row for r in come]}
        connection.execute(compose("rejects.put", rejects=table), rows)


def count_rejects(connection: Connection, settings: Settings, spans: Sequence[tuple[date, date]]) -> int:
    """How many rows of the days of ``spans``, or of no day, are rejected."""
    days = {"firsts": [str(first) for first, _ in spans], "lasts": [str(last) for _, last in spans]}
    row = connection.execute(compose("rejects.count", rejects=job_table(settings, "rejects")), days).fetchone()
    return int(row[0]) if row else 0


def set_aside(connection: Connection, settings: Settings, reasons: Mapping[str, str], run_id: int) -> None:
    """Adds users with their ``reasons``, in the caller's transaction; who is there already keeps his ``since``."""
    text = compose("set_aside.put", set_aside=job_table(settings, "set_aside"))
    connection.execute(text, {"users": list(reasons), "reasons": list(reasons.values()), "run_id": run_id})


def end_set_aside(
    connection: Connection, settings: Settings, users: Collection[str] | None, *, kept: Collection[str]
) -> None:
    """Removes ``users`` (None: everybody) but ``kept``, in the caller's transaction."""
    text = compose("set_aside.remove", set_aside=job_table(settings, "set_aside"))
    connection.execute(text, {"users": None if users is None else list(users), "kept": list(kept)})


def list_set_aside(connection: Connection, settings: Settings) -> dict[str, str]:
    """Who is set aside, and why."""
    return dict(connection.execute(compose("set_aside.list", set_aside=job_table(settings, "set_aside"))).fetchall())

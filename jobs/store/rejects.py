"""``rollup.rejects``: rows that cannot be priced, each with the reason and the row (DESIGN section 8)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.statements import own, source, statement
from jobs.store.usage import UsageQuery


@dataclass(frozen=True, slots=True)
class Reject:
    """A row of usage_daily that cannot be taken: its id, why, and the row as JSON text."""

    id: str
    reason: str
    row: str


@dataclass(frozen=True, slots=True)
class Written:
    """A row of rollup.rejects that came, changed or went: whose usage it is, what it said and says."""

    id: str
    user: str | None
    old: str | None
    new: str | None


def read(connection: Connection, query: UsageQuery, ids: Sequence[str]) -> list[Reject]:
    """The rows ``ids`` as they are now, each with its reason; a row deleted since is none."""
    if not ids:
        return []
    found: list[tuple[str, str]] = connection.execute(query.reject_rows(), {"ids": list(ids)}).fetchall()
    return [Reject(id_, query.reason(_loaded(text)), text) for id_, text in found]


def _loaded(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return loaded


def write(
    connection: Connection, settings: Settings, rejects: Sequence[Reject], spans: Sequence[tuple[date, date]]
) -> list[Written]:
    """Makes the table hold these rejects for the days of ``spans``, in the caller's transaction; the rows changed."""
    table = own(settings, "rejects")
    ids = [reject.id for reject in rejects]
    days = {"firsts": [str(first) for first, _ in spans], "lasts": [str(last) for _, last in spans]}
    heal = statement("heal_rejects", rejects=table, usage=source(settings, "usage_daily"))
    healed = [Written(id_, user, old, None) for id_, user, old in connection.execute(heal, {"ids": ids, **days})]
    if not rejects:
        return healed
    held = dict(connection.execute(statement("standing_rejects", rejects=table), [ids]).fetchall())
    rows = {"ids": ids, "reasons": [r.reason for r in rejects], "rows": [r.row for r in rejects]}
    put = connection.execute(statement("put_rejects", rejects=table), rows)
    return [*healed, *(Written(id_, user, held.get(id_), new) for id_, user, new in put)]

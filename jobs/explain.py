"""How one user's month adds up: every row, tier, price and its reference, and the sums beside the roll-up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl

from jobs.compute.detail import pieces
from jobs.compute.rollup import amounts
from jobs.figures import in_order, priced, takeable, user_months
from jobs.model.errors import ConfigError
from jobs.model.frames import cost_of
from jobs.model.scale import unscaled
from jobs.model.windows import Window, last_of
from jobs.plan import Plan, for_window
from jobs.settings import Settings
from jobs.store import preflight, readers, runlog, tables
from jobs.store.database import Address, linked, transaction


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a row's quantity that got one price. ``price`` is for ``per`` units; a level's is per month."""

    meter: str
    quantity: Decimal
    tier_from: Decimal
    price: Decimal
    per: int
    discount: Decimal | None
    because: str


@dataclass(frozen=True, slots=True)
class Line:
    """A usage row: its pieces, what each meter is charged, and how its cost comes about."""

    id: str
    day: date
    cluster: str | None
    pieces: tuple[Piece, ...]
    charges: Mapping[str, Decimal]
    recorded: Decimal | None
    cost: Decimal
    adjustment: Decimal


@dataclass(frozen=True, slots=True)
class Explanation:
    """A user's month: its rows, what they add up to, and what the roll-up holds (empty: nothing)."""

    user: str
    month: date
    cost_mode: str
    currency: str
    last: date
    units: Mapping[str, str]
    lines: tuple[Line, ...]
    sums: Mapping[str, Any]
    rollup: Mapping[str, Any]

    @property
    def agrees(self) -> bool:
        return dict(self.sums) == dict(self.rollup)


def explained_month(settings: Settings, address: Address, user: str, month: date, today: date) -> Explanation:
    """Reads and prices the user's rows of the month as the last run did, and sets the sums beside the roll-up.

    Raises ConfigError (exit 2) where the user has neither usage nor a roll-up in that month.
    """
    with linked(address) as link:
        source, findings = preflight.source(link.connection, settings)
        preflight.refuse(findings, to_write=False)
        history, booked = runlog.history(link.connection, settings)
        last = min(last_of(month), history.furthest or today - timedelta(days=1))
        if last < month:
            raise ConfigError(f"--month {month:%Y-%m}: no run has covered a day of it yet; the last was {last}")
        window = Window((month,), last, frozenset())
        plan = for_window(link.connection, settings, source, window, booked)
        query = plan.query.of_users([user], plan.window.spans())
        rows = readers.latest(link.connection, query, plan.query).filter(takeable(plan))
        with transaction(link.connection) as connection:
            of = tables.table(settings, "user_monthly")
            held = pl.concat(tables.standing(connection, settings, of, [month]))
    return _told(plan, user, rows, held.filter(pl.col("user_id") == user))


def _told(plan: Plan, user: str, rows: pl.DataFrame, held: pl.DataFrame) -> Explanation:
    month = plan.window.first
    if rows.is_empty() and held.is_empty():
        raise ConfigError(
            f"--user {user!r}: no usage and no roll-up in {month:%Y-%m}; expected the id as it stands in "
            "usage_daily.user_id (often with a prefix such as auth0|)"
        )
    detail: dict[int, list[Piece]] = {}
    for piece in pieces(in_order(rows.lazy(), plan), plan.terms).collect().iter_rows(named=True):
        detail.setdefault(piece["id"], []).append(_piece(piece))
    costed = priced(rows.lazy(), plan)
    lines = [_line(plan, row, detail.get(row["id"], [])) for row in costed.iter_rows(named=True)]
    sums = user_months(costed, plan).collect()
    return Explanation(
        user=user,
        month=month,
        cost_mode=plan.modes[month],
        currency=plan.settings.currency,
        last=plan.window.last,
        units={meter.name: meter.unit for meter in plan.meters},
        lines=tuple(lines),
        sums=_figures(plan, sums),
        rollup=_figures(plan, held),
    )


def _figures(plan: Plan, frame: pl.DataFrame) -> dict[str, Any]:
    if frame.is_empty():
        return {}
    row = frame.row(0, named=True)
    return {"days": row["days"]} | {name: unscaled(row[name]) for name in amounts(plan.settings.meters)}


def _piece(row: Mapping[str, Any]) -> Piece:
    return Piece(
        meter=row["meter"],
        quantity=unscaled(row["quantity"]),
        tier_from=unscaled(row["tier_from"]),
        price=unscaled(row["price"]),
        per=row["per"],
        discount=None if row["discount"] is None else unscaled(row["discount"]),
        because=row["because"],
    )


def _line(plan: Plan, row: Mapping[str, Any], detail: list[Piece]) -> Line:
    return Line(
        id=str(UUID(int=row["id"])),
        day=row["date"],
        cluster=None if row["cluster_id"] is None else str(UUID(int=row["cluster_id"])),
        pieces=tuple(detail),
        charges={meter.name: unscaled(row[cost_of(meter.name)]) for meter in plan.meters},
        recorded=None if row["recorded"] is None else unscaled(row["recorded"]),
        cost=unscaled(row["total_cost"]),
        adjustment=unscaled(row["adjustment_cost"]),
    )

"""How one user's month adds up: every row, tier, price and its reference, and the sums beside the roll-up."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl

from jobs.compute.billing import DUE, EARLY, FREE, PREPAID
from jobs.compute.detail import pieces
from jobs.compute.rollup import CREDITS, amounts
from jobs.model.errors import ConfigError
from jobs.model.frames import usage_schema
from jobs.model.meters import cost_of
from jobs.model.scale import unscaled
from jobs.model.windows import Window, last_of
from jobs.pipeline.allocation import as_posted
from jobs.pipeline.batch_changes import months_target
from jobs.pipeline.batch_input import BatchInput, read_input
from jobs.pipeline.plan import Plan, for_window
from jobs.pipeline.rating import with_overrides
from jobs.postgres.usage_reader import Reader
from jobs.settings import Settings
from jobs.store import clock, preflight, runlog
from jobs.store.address import Address
from jobs.store.database import Connection, linked, transaction
from jobs.store.faults import retried

MODES = {PREPAID: "prepaid", EARLY: "prepaid, before the first day that is drawn", FREE: "free", DUE: "postpaid"}


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
class Paid:
    """How a row is paid: the user's mode that day, the draws that stand in the ledger by kind of credit, and what is
    left: uncovered, due, or invoiced elsewhere."""

    mode: str
    free: Decimal
    purchased: Decimal
    uncovered: Decimal
    amount_due: Decimal
    amount_reported: Decimal


@dataclass(frozen=True, slots=True)
class Line:
    """A usage row: its pieces, what each meter is charged, how its cost comes about, and how it is paid."""

    id: str
    day: date
    cluster: str | None
    pieces: tuple[Piece, ...]
    charges: Mapping[str, Decimal]
    recorded: Decimal | None
    cost: Decimal
    adjustment: Decimal
    paid: Paid


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


def explained_month(settings: Settings, address: Address, user: str, month: date) -> Explanation:
    """Reads and prices the user's rows of the month as the last run did, and sets the sums beside the roll-up.

    Raises ConfigError (exit 2) where the user has neither usage nor a roll-up in that month.
    """
    with linked(address) as link:
        return retried(lambda: _explain(link.connection, settings, address, user, month))


def _explain(opened: Connection, settings: Settings, address: Address, user: str, month: date) -> Explanation:
    with transaction(opened, snapshot=True) as connection:
        source, findings = preflight.source(connection, settings)
        preflight.refuse(findings, purpose="read")
        history, months = runlog.history(connection, settings)
        last = min(last_of(month), history.furthest or clock.today(connection) - timedelta(days=1))
        if last < month:
            raise ConfigError(f"--month {month:%Y-%m}: no run has covered a day of it yet; the last was {last}")
        window = Window((month,), last, frozenset())
        plan = for_window(connection, settings, source, window, months)
        read = read_input(connection, Reader("copy", address), plan, [user])
    paid = as_posted(plan, read.rated, read.modes, read.draws)
    return _explanation(plan, user, paid, read)


def _explanation(plan: Plan, user: str, rated: pl.DataFrame, read: BatchInput) -> Explanation:
    month = plan.window.first
    if not read.rows_read and read.months.is_empty():
        raise ConfigError(
            f"--user {user!r}: no usage and no roll-up in {month:%Y-%m}; expected the id as it stands in "
            "usage_daily.user_id (often with a prefix such as auth0|)"
        )
    usage = rated.select(usage_schema([meter.name for meter in plan.meters]).keys()).lazy()
    detail: dict[int, list[Piece]] = {}
    for piece in pieces(with_overrides(usage, plan), plan.terms).collect().iter_rows(named=True):
        detail.setdefault(piece["id"], []).append(_piece(piece))
    lines = [_line(plan, row, detail.get(row["id"], [])) for row in rated.iter_rows(named=True)]
    return Explanation(
        user=user,
        month=month,
        cost_mode=plan.modes[month],
        currency=plan.settings.currency,
        last=plan.window.last,
        units={meter.name: meter.unit for meter in plan.meters},
        lines=tuple(lines),
        sums=_figures(plan, months_target(plan, read, rated)),
        rollup=_figures(plan, read.months),
    )


def _figures(plan: Plan, frame: pl.DataFrame) -> dict[str, Any]:
    if frame.is_empty():
        return {}
    row = frame.row(0, named=True)
    figures = {name: row[name] for name in (*amounts(plan.settings.meters), *CREDITS)}
    return {"days": row["days"]} | {n: None if units is None else unscaled(units) for n, units in figures.items()}


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
        paid=Paid(
            mode=MODES[row["class"]],
            **{f.name: unscaled(row[f.name]) for f in dataclasses.fields(Paid) if f.name != "mode"},
        ),
    )

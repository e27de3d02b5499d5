"""`usage-jobs explain`: how the cost of a user's month is computed, row by row, and its sums beside the roll-up."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import polars as pl

from jobs.audit.explanation import DayCost, Explanation, Line, Owed, PaymentSplit, PricedQuantity, Rejected
from jobs.credits.allocation import apply_ledger
from jobs.domain.billing_periods import Window, days_in, first_open_month, is_closed, last_of
from jobs.domain.errors import ConfigError
from jobs.domain.fixed_point import ONE, unscaled
from jobs.domain.meters import cost_of
from jobs.domain.names import USER_DAY
from jobs.domain.schemas import DUE, EARLY, FREE, PREPAID, usage_schema
from jobs.pipeline.batch_computation import compute_days_target, compute_months_target
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.batch_reading import read_input
from jobs.pipeline.planning import make_window_scope
from jobs.pipeline.row_rating import with_overrides
from jobs.postgres import debts, preflight, rejects, run_log, server_clock
from jobs.postgres.connections import Connection, query_database
from jobs.postgres.conninfo import Address
from jobs.postgres.rejects import Reject
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader
from jobs.rating.price_breakdown import price_breakdown
from jobs.rollups.sums import CREDITS, additive_columns
from jobs.settings import Settings

MODES = {PREPAID: "prepaid", EARLY: "prepaid, before the first day that draws credits", FREE: "free", DUE: "postpaid"}


def explain_month(settings: Settings, address: Address, user: str, month: date) -> Explanation:
    """Reads and prices the user's rows of the month up to the last covered day, and compares them with the roll-up.

    Raises ConfigError if the month is not covered, or if the user has neither usage nor a roll-up in it.
    """
    return query_database(
        address, lambda connection: _explain(connection, settings, address, user, month), snapshot=True
    )


def _explain(connection: Connection, settings: Settings, address: Address, user: str, month: date) -> Explanation:
    source, findings = preflight.inspect_source(connection, settings)
    preflight.refuse_findings(findings, purpose="read")
    today = server_clock.today(connection)
    history, months = run_log.read_history(connection, settings, today)
    last = min(last_of(month), history.furthest or today - timedelta(days=1))
    if last < month:
        raise ConfigError(f"--month {month:%Y-%m}: no run has covered a day of it yet; the last was {last}")
    window = Window((month,), last, frozenset())
    scope = make_window_scope(connection, settings, source, window, months)
    inputs = read_input(connection, Reader("copy", address), scope, [user])
    ids = [str(UUID(int=id_)) for id_ in inputs.rejected["id"]]
    rejected = tuple(_rejected(reject) for reject in rejects.read_rejects(connection, scope.query, ids))
    owed = _sum_debts(
        [debt for debt in debts.read_debts(connection, settings, user) if month <= debt.usage_date <= last]
    )
    paid = apply_ledger(inputs.for_credits, scope.credit_rules)
    closed = is_closed(month, history, first_open_month(history, settings.start, last))
    return replace(_explanation(scope, user, paid, inputs), closed=closed, rejected=rejected, owed=owed)


def _sum_debts(found: Sequence[debts.Debt]) -> Owed | None:
    if not found:
        return None
    amounts = [(debt.amount, debt.settled, debt.written_off) for debt in found]
    return Owed(*(sum(column, Decimal(0)) for column in zip(*amounts, strict=True)))


def _explanation(scope: RunScope, user: str, rated: pl.DataFrame, inputs: BatchInput) -> Explanation:
    month = scope.window.first
    if not inputs.rows_read and inputs.months.is_empty():
        raise ConfigError(
            f"--user {user!r}: no usage and no roll-up in {month:%Y-%m}; expected a value of usage_daily.user_id "
            "(often with a prefix such as auth0|)"
        )
    usage = rated.select(usage_schema([meter.name for meter in scope.meters]).keys()).lazy()
    pieces: dict[int, list[Mapping[str, Any]]] = {}
    for piece in price_breakdown(with_overrides(usage, scope), scope.pricing_terms).collect().iter_rows(named=True):
        pieces.setdefault(piece["id"], []).append(piece)
    lines = [_line(scope, row, _add_charges(scope, pieces.get(row["id"], []))) for row in rated.iter_rows(named=True)]
    return Explanation(
        user=user,
        month=month,
        cost_mode=scope.cost_modes[month],
        currency=scope.currency,
        last=scope.window.last,
        closed=False,
        units={meter.name: meter.unit for meter in scope.meters},
        lines=tuple(lines),
        rejected=(),
        days=tuple(_differing_days(scope, rated, inputs)),
        sums=_figures(scope, compute_months_target(scope, inputs, rated)),
        rollup=_figures(scope, inputs.months),
    )


def _figures(scope: RunScope, frame: pl.DataFrame) -> dict[str, Any]:
    if frame.is_empty():
        return {}
    row = frame.row(0, named=True)
    figures = {name: row[name] for name in (*additive_columns(scope.settings.meters), *CREDITS)}
    return {"days": row["days"]} | {n: None if units is None else unscaled(units) for n, units in figures.items()}


def _differing_days(scope: RunScope, rated: pl.DataFrame, inputs: BatchInput) -> Iterator[DayCost]:
    """The days whose cost differs from user_daily; none for a month of the first version, which had no such table."""
    if scope.month_records.fingerprints.get(scope.window.first) is None:
        return
    now, stored = (days.select(*USER_DAY, "total_cost") for days in (compute_days_target(scope, rated), inputs.days))
    both = now.join(stored, on=USER_DAY, how="full", coalesce=True, nulls_equal=True, suffix="_stored")
    differing = both.filter(pl.col("total_cost").ne_missing(pl.col("total_cost_stored"))).sort(USER_DAY)
    for row in differing.iter_rows(named=True):
        costs = (None if row[name] is None else unscaled(row[name]) for name in ("total_cost_stored", "total_cost"))
        yield DayCost(row["date"], _uuid(row["cluster_id"]), *costs)


def _uuid(number: int | None) -> str | None:
    return None if number is None else str(UUID(int=number))


def _rejected(reject: Reject) -> Rejected:
    row = json.loads(reject.row)
    return Rejected(reject.id, date.fromisoformat(row["date"]), row["hopsworks_cluster_id"], reject.reason)


def _add_charges(scope: RunScope, rows: Sequence[Mapping[str, Any]]) -> list[PricedQuantity]:
    """The pieces of one usage row, each with its charge.

    The charge of a piece is the difference of two rounded cumulative sums, so that the charges of a meter add up to its
    rounded charge.
    """
    levels = {meter.name for meter in scope.meters if meter.is_level}
    days = days_in(scope.window.first)
    exact: dict[str, Fraction] = {}
    found = []
    for row in rows:
        piece = _piece(row, days if row["meter"] in levels else None)
        before = exact.get(piece.meter, Fraction(0))
        exact[piece.meter] = before + _exact_charge(piece)
        found.append(replace(piece, charge=_rounded(exact[piece.meter]) - _rounded(before)))
    return found


def _exact_charge(piece: PricedQuantity) -> Fraction:
    after_discount = 1 - Fraction(piece.discount or 0) / 100
    return Fraction(piece.quantity) * Fraction(piece.price) * after_discount / piece.per / (piece.days or 1)


def _rounded(exact: Fraction) -> Decimal:
    """Rounds to ten decimals, half to even, as charges are rounded."""
    return unscaled(round(exact * ONE))


def _piece(row: Mapping[str, Any], days: int | None) -> PricedQuantity:
    return PricedQuantity(
        meter=row["meter"],
        quantity=unscaled(row["quantity"]),
        tier_from=unscaled(row["tier_from"]),
        price=unscaled(row["price"]),
        per=row["per"],
        discount=None if row["discount"] is None else unscaled(row["discount"]),
        days=days,
        charge=Decimal(0),
        because=row["because"],
    )


def _line(scope: RunScope, row: Mapping[str, Any], pieces: list[PricedQuantity]) -> Line:
    return Line(
        id=str(UUID(int=row["id"])),
        day=row["date"],
        cluster=_uuid(row["cluster_id"]),
        pieces=tuple(pieces),
        charges={meter.name: unscaled(row[cost_of(meter.name)]) for meter in scope.meters},
        recorded=None if row["recorded"] is None else unscaled(row["recorded"]),
        cost=unscaled(row["total_cost"]),
        adjustment=unscaled(row["adjustment_cost"]),
        paid=PaymentSplit(
            mode=MODES[row["class"]],
            **{f.name: unscaled(row[f.name]) for f in dataclasses.fields(PaymentSplit) if f.name != "mode"},
        ),
    )

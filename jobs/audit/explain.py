"""`usage-jobs explain`: how the cost of a user's month is computed, row by row, and its sums beside the roll-up."""

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from jobs.audit.explanation import DayCost, ExplainedRow, Explanation, Owed, PaymentSplit, PricedQuantity, Rejected
from jobs.audit.recalculation import id_text, is_same, join_days
from jobs.credits.allocation import apply_ledger
from jobs.domain.billing_periods import Window, days_in, first_open_month, is_closed, last_of
from jobs.domain.errors import ConfigError
from jobs.domain.meters import additive_columns, cost_of
from jobs.domain.schemas import DUE, EARLY, FREE, PREPAID, in_decimals
from jobs.domain.tables import USER_DAY
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.batch_reading import read_input
from jobs.pipeline.planning import make_window_scope
from jobs.pipeline.rollup_targets import compute_months_target
from jobs.postgres import debts, preflight, rejects, run_log, server_clock
from jobs.postgres.connections import Connection, query_database
from jobs.postgres.conninfo import Address
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader
from jobs.rating.price_breakdown import break_down_prices
from jobs.rollups.sums import PAYMENT_SUMS
from jobs.settings import Settings

CLASS_TEXTS = {
    PREPAID: "prepaid",
    EARLY: "prepaid, before the first day that draws credits",
    FREE: "free",
    DUE: "postpaid",
}


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
    scope = make_window_scope(connection, settings, source, Window((month,), last, frozenset()), months)
    inputs = read_input(connection, Reader("copy", address), scope, [user])
    if not inputs.rows_read and inputs.stored_months.is_empty():
        raise ConfigError(
            f"--user {user!r}: no usage and no roll-up in {month:%Y-%m}; expected a value of usage_daily.user_id "
            "(often with a prefix such as auth0|)"
        )
    paid_rows = apply_ledger(inputs.for_credits, scope.credit_rules)
    return Explanation(
        user=user,
        month=month,
        cost_mode=scope.cost_modes[month],
        currency=scope.currency,
        last=last,
        closed=is_closed(month, history, first_open_month(history, settings.start, last)),
        units={meter.name: meter.unit for meter in scope.meters},
        lines=tuple(_lines(scope, paid_rows)),
        rejected=tuple(_rejected(connection, scope, inputs)),
        days=tuple(_differing_days(scope, paid_rows, inputs)),
        sums=_figures(scope, compute_months_target(scope, inputs, paid_rows)),
        rollup=_figures(scope, inputs.stored_months),
        owed=_owed(connection, scope, user),
    )


def _owed(connection: Connection, scope: RunScope, user: str) -> Owed | None:
    first, last = scope.window.first, scope.window.last
    found = [debt for debt in debts.read_debts(connection, scope.settings, user) if first <= debt.usage_date <= last]
    amounts = ((debt.amount, debt.settled, debt.written_off) for debt in found)
    return Owed(*(sum(column, Decimal(0)) for column in zip(*amounts, strict=True))) if found else None


def _rejected(connection: Connection, scope: RunScope, inputs: BatchInput) -> Iterator[Rejected]:
    for reject in rejects.read_rejects(connection, scope.query, inputs.rejected_ids):
        row = json.loads(reject.row)
        yield Rejected(reject.id, date.fromisoformat(row["date"]), row["hopsworks_cluster_id"], reject.reason)


def _figures(scope: RunScope, months: pl.DataFrame) -> dict[str, Any]:
    amounts = [*additive_columns(scope.settings.meters), *PAYMENT_SUMS]
    return next(months.select("days", *map(in_decimals, amounts)).iter_rows(named=True), {})


def _differing_days(scope: RunScope, paid_rows: pl.DataFrame, inputs: BatchInput) -> Iterator[DayCost]:
    differing = join_days(scope, paid_rows, inputs).filter(~is_same(["total_cost"])).sort(USER_DAY)
    costs = (in_decimals("total_cost_stored"), in_decimals("total_cost"))
    yield from (DayCost(*row) for row in differing.select("date", id_text("cluster_id"), *costs).iter_rows())


def _lines(scope: RunScope, paid_rows: pl.DataFrame) -> Iterator[ExplainedRow]:
    pieces = _break_down(scope, paid_rows)
    payment = [field.name for field in fields(PaymentSplit) if field.name != "mode"]
    charges = {meter.name: cost_of(meter.name) for meter in scope.meters}
    amounts = (*payment, *charges.values(), "recorded", "total_cost", "adjustment_cost")
    rows = paid_rows.select("date", "class", id_text("id"), id_text("cluster_id"), *map(in_decimals, amounts))
    for row in rows.iter_rows(named=True):
        yield ExplainedRow(
            id=row["id"],
            day=row["date"],
            cluster=row["cluster_id"],
            pieces=tuple(pieces.get(row["id"], ())),
            charges={meter: row[column] for meter, column in charges.items()},
            recorded=row["recorded"],
            cost=row["total_cost"],
            adjustment=row["adjustment_cost"],
            paid=PaymentSplit(CLASS_TEXTS[row["class"]], **{name: row[name] for name in payment}),
        )


def _break_down(scope: RunScope, paid_rows: pl.DataFrame) -> dict[str, list[PricedQuantity]]:
    """The pieces of all rows, by the id of the row."""
    days = {meter.name: days_in(scope.window.first) for meter in scope.meters if meter.is_level}
    amounts = map(in_decimals, ("quantity", "tier_from", "price", "discount", "charge"))
    pieces: dict[str, list[PricedQuantity]] = {}
    found = break_down_prices(paid_rows, scope.pricing_terms).select(id_text("id"), "meter", "per", "because", *amounts)
    for piece in found.iter_rows(named=True):
        pieces.setdefault(piece.pop("id"), []).append(PricedQuantity(**piece, days=days.get(piece["meter"])))
    return pieces

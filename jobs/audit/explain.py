"""`usage-jobs explain`: how the cost of a user's month is computed, row by row, and its sums beside the roll-up."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl

from jobs.audit.explanation import DayCost, ExplainedRow, Explanation, Owed, PaymentSplit, PricedQuantity, Rejected
from jobs.audit.recalculation import id_text, is_same, join_stored
from jobs.credits.allocation import apply_ledger
from jobs.domain.billing_periods import Window, days_in, first_open_month, is_closed, last_of
from jobs.domain.errors import ConfigError
from jobs.domain.meters import additive_columns, cost_of
from jobs.domain.schemas import DUE, EARLY, FREE, PREPAID, in_decimals
from jobs.domain.tables import USER_DAY
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.batch_reading import read_input
from jobs.pipeline.planning import make_window_scope
from jobs.pipeline.rollup_targets import compute_days_target, compute_months_target
from jobs.postgres import debts, preflight, rejects, run_log, server_clock
from jobs.postgres.connections import Connection, query_database
from jobs.postgres.conninfo import Address
from jobs.postgres.rejects import Reject
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
    window = Window((month,), last, frozenset())
    scope = make_window_scope(connection, settings, source, window, months)
    inputs = read_input(connection, Reader("copy", address), scope, [user])
    ids = [str(UUID(int=id_)) for id_ in inputs.rejected["id"]]
    found = [debt for debt in debts.read_debts(connection, settings, user) if month <= debt.usage_date <= last]
    return replace(
        _explanation(scope, user, apply_ledger(inputs.for_credits, scope.credit_rules), inputs),
        closed=is_closed(month, history, first_open_month(history, settings.start, last)),
        rejected=tuple(map(_rejected, rejects.read_rejects(connection, scope.query, ids))),
        owed=Owed(*(_sum(found, name) for name in ("amount", "settled", "written_off"))) if found else None,
    )


def _sum(found: Iterable[debts.Debt], amount: str) -> Decimal:
    return sum((getattr(debt, amount) for debt in found), Decimal(0))


def _rejected(reject: Reject) -> Rejected:
    row = json.loads(reject.row)
    return Rejected(reject.id, date.fromisoformat(row["date"]), row["hopsworks_cluster_id"], reject.reason)


def _explanation(scope: RunScope, user: str, paid_rows: pl.DataFrame, inputs: BatchInput) -> Explanation:
    month = scope.window.first
    if not inputs.rows_read and inputs.stored_months.is_empty():
        raise ConfigError(
            f"--user {user!r}: no usage and no roll-up in {month:%Y-%m}; expected a value of usage_daily.user_id "
            "(often with a prefix such as auth0|)"
        )
    return Explanation(
        user=user,
        month=month,
        cost_mode=scope.cost_modes[month],
        currency=scope.currency,
        last=scope.window.last,
        closed=False,
        units={meter.name: meter.unit for meter in scope.meters},
        lines=tuple(_lines(scope, paid_rows)),
        rejected=(),
        days=tuple(_differing_days(scope, paid_rows, inputs)),
        sums=_figures(scope, compute_months_target(scope, inputs, paid_rows)),
        rollup=_figures(scope, inputs.stored_months),
    )


def _figures(scope: RunScope, months: pl.DataFrame) -> dict[str, Any]:
    amounts = [*additive_columns(scope.settings.meters), *PAYMENT_SUMS]
    return next(months.select("days", *map(in_decimals, amounts)).iter_rows(named=True), {})


def _differing_days(scope: RunScope, paid_rows: pl.DataFrame, inputs: BatchInput) -> Iterator[DayCost]:
    """The days whose cost differs from user_daily; none for a month of the first version, which had no such table."""
    if scope.month_records.fingerprint_definitions.get(scope.window.first) is None:
        return
    now, stored = (
        days.select(*USER_DAY, "total_cost") for days in (compute_days_target(scope, paid_rows), inputs.stored_days)
    )
    differing = join_stored(now, stored, USER_DAY).filter(~is_same(["total_cost"])).sort(USER_DAY)
    costs = (in_decimals("total_cost_stored"), in_decimals("total_cost"))
    yield from (DayCost(*row) for row in differing.select("date", id_text("cluster_id"), *costs).iter_rows())


def _lines(scope: RunScope, paid_rows: pl.DataFrame) -> Iterator[ExplainedRow]:
    pieces: dict[str, list[dict[str, Any]]] = {}
    for piece in _break_down(scope, paid_rows).iter_rows(named=True):
        pieces.setdefault(piece.pop("id"), []).append(piece)
    days = {meter.name: days_in(scope.window.first) for meter in scope.meters if meter.is_level}
    payment = [field.name for field in fields(PaymentSplit) if field.name != "mode"]
    charges = [cost_of(meter.name) for meter in scope.meters]
    amounts = (*payment, *charges, "recorded", "total_cost", "adjustment_cost")
    rows = paid_rows.select("date", "class", id_text("id"), id_text("cluster_id"), *map(in_decimals, amounts))
    for row in rows.iter_rows(named=True):
        yield ExplainedRow(
            id=row["id"],
            day=row["date"],
            cluster=row["cluster_id"],
            pieces=tuple(PricedQuantity(**piece, days=days.get(piece["meter"])) for piece in pieces.get(row["id"], ())),
            charges={meter.name: row[cost_of(meter.name)] for meter in scope.meters},
            recorded=row["recorded"],
            cost=row["total_cost"],
            adjustment=row["adjustment_cost"],
            paid=PaymentSplit(CLASS_TEXTS[row["class"]], **{name: row[name] for name in payment}),
        )


def _break_down(scope: RunScope, paid_rows: pl.DataFrame) -> pl.DataFrame:
    """The pieces of all rows: the id of the row, and the fields of PricedQuantity without the days of a level."""
    amounts = ("quantity", "tier_from", "price", "discount", "charge")
    return break_down_prices(paid_rows, scope.pricing_terms).select(
        id_text("id"), "meter", "per", "because", *map(in_decimals, amounts)
    )

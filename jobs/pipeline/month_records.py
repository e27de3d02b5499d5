"""Records of months: the target rows of rollup.months."""

from collections.abc import Collection
from datetime import date
from typing import Any

from jobs.domain.billing_periods import first_of
from jobs.pipeline.plan import Plan
from jobs.postgres.connections import Connection
from jobs.postgres.month_figures import MonthFigures, read_month_figures


def make_record(
    plan: Plan, month: date, figures: MonthFigures, run_id: int | None, *, closes: bool, is_complete: bool = True
) -> dict[str, Any]:
    """Returns the target row of ``month``.

    ``is_complete``: whether every user of the month was computed. If not, rates_hash and fingerprint stay as they are
    stored, so that the next run computes the others.
    """
    return {
        "month": month,
        "row_count": figures.row_count,
        "usage_hash": figures.usage_hash,
        "rates_hash": plan.month_rates(month) if is_complete else plan.months.rates.get(month),
        "total_cost": figures.total_cost,
        "fingerprint": plan.fingerprints[month].text if is_complete else plan.months.fingerprints.get(month),
        "closes": closes,
        "run_id": run_id,
        "cost_mode": plan.modes.get(month) or plan.months.modes[month],
        "currency": plan.currencies.get(month) or plan.months.currencies.get(month),
    }


def make_other_records(
    connection: Connection, plan: Plan, days: Collection[date], run_id: int | None
) -> list[dict[str, Any]]:
    """Returns the target rows of months of ``days`` that are not in the window: an unfinished backfill changed them."""
    months = sorted({first_of(day) for day in days} - set(plan.window.months))
    if not months:
        return []
    by_month, _ = read_month_figures(connection, plan, months)
    return [make_record(plan, month, by_month[month], run_id, closes=False, is_complete=False) for month in months]

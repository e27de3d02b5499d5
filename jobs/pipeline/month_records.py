"""Records of months: the target rows of rollup.months."""

from collections.abc import Collection
from datetime import date
from typing import Any

from jobs.domain.billing_periods import first_of
from jobs.postgres.connections import Connection
from jobs.postgres.month_figures import MonthFigures, read_month_figures
from jobs.postgres.run_scope import RunScope


def make_record(
    scope: RunScope, month: date, figures: MonthFigures, run_id: int | None, *, closes: bool, is_complete: bool = True
) -> dict[str, Any]:
    """Returns the target row of ``month``.

    ``is_complete``: whether every user of the month was computed. If not, rates_hash and fingerprint stay as they are
    stored, so that the next run computes the others.
    """
    return {
        "month": month,
        "row_count": figures.row_count,
        "usage_hash": figures.usage_hash,
        "rates_hash": scope.month_rates(month) if is_complete else scope.month_records.rates.get(month),
        "total_cost": figures.total_cost,
        "fingerprint": scope.fingerprint_definitions[month].text
        if is_complete
        else scope.month_records.fingerprints.get(month),
        "closes": closes,
        "run_id": run_id,
        "cost_mode": scope.cost_modes.get(month) or scope.month_records.modes[month],
        "currency": scope.currencies.get(month) or scope.month_records.currencies.get(month),
    }


def make_other_records(
    connection: Connection, scope: RunScope, days: Collection[date], run_id: int | None
) -> list[dict[str, Any]]:
    """Returns the target rows of months of ``days`` that are not in the window: an unfinished backfill changed them."""
    months = sorted({first_of(day) for day in days} - set(scope.window.months))
    if not months:
        return []
    by_month, _ = read_month_figures(connection, scope, months)
    return [make_record(scope, month, by_month[month], run_id, closes=False, is_complete=False) for month in months]

"""Sums of user_monthly by month. No polars: every run reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from jobs.postgres.connections import Connection, read_dicts
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import compose

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """Sums over the users of one or several months; amounts in the currency.

    - ``users``: number of users; of several months: number of user-months
    - ``usage_hash``: a hash of the users and their rows
    - ``users_ran_out``: users with uncovered prepaid usage
    """

    users: int = 0
    row_count: int = 0
    usage_hash: int | None = 0
    total_cost: Decimal = NOTHING
    credits_deducted: Decimal = NOTHING
    uncovered: Decimal = NOTHING
    amount_due: Decimal = NOTHING
    amount_reported: Decimal = NOTHING
    amount_free: Decimal = NOTHING
    users_ran_out: int = 0


def read_month_figures(
    connection: Connection, scope: RunScope, months: Sequence[date]
) -> tuple[dict[date, MonthFigures], MonthFigures]:
    """Returns the figures of each of ``months``, and of all months in the currency of the last month."""
    text = compose("months.figures", scope.settings)
    rows = read_dicts(connection, text, months=list(months), summed=scope.summed_months)
    found = {row.pop("month"): MonthFigures(**row) for row in rows}
    whole = found.pop(None, MonthFigures())
    return {month: found.get(month, MonthFigures()) for month in months}, whole


def read_ran_out(connection: Connection, scope: RunScope, months: Sequence[date]) -> list[tuple[str, date, Decimal]]:
    """Returns user, month and amount of prepaid usage that no credit pays for."""
    text = compose("months.ran_out", scope.settings)
    return connection.execute(text, {"months": list(months)}).fetchall()


def read_day_costs(
    connection: Connection, scope: RunScope, since: date, covered: date, last: date
) -> dict[date, Decimal]:
    """Returns the stored cost of each day with usage.

    Days from ``since`` to ``covered`` are read from cluster_daily, which is small; later days up to ``last`` from
    user_daily: runs that died have written only there.
    """
    days = {"since": since, "covered": covered, "last": last}
    return dict(connection.execute(compose("months.day_costs", scope.settings), days).fetchall())

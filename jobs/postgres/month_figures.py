"""What user_monthly adds up to, by month. No polars: every run asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from psycopg.rows import dict_row

from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import compose, job_table

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """Sums over the users of a month, or of several (``users`` then counts user-months); amounts in the currency.
    ``usage_hash``: of users and rows."""

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


def month_figures(
    connection: Connection, scope: RunScope, months: Sequence[date]
) -> tuple[dict[date, MonthFigures], MonthFigures]:
    """The figures of each of ``months``, and of all of them that are in the currency of the last."""
    text = compose("months.figures", user_monthly=job_table(scope.settings, "user_monthly"))
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(text, {"months": list(months), "summed": scope.summed_months}).fetchall()
    found = {row.pop("month"): MonthFigures(**row) for row in rows}
    whole = found.pop(None, MonthFigures())
    return {month: found.get(month, MonthFigures()) for month in months}, whole


def ran_out(connection: Connection, scope: RunScope, months: Sequence[date]) -> list[tuple[str, date, Decimal]]:
    """User, month and amount of prepaid usage that no credit covers."""
    text = compose("months.ran_out", user_monthly=job_table(scope.settings, "user_monthly"))
    return connection.execute(text, {"months": list(months)}).fetchall()


def day_costs(connection: Connection, scope: RunScope, since: date, covered: date, last: date) -> dict[date, Decimal]:
    """What each day with usage costs as it is stored: from ``since`` to ``covered`` by the cluster tables, which are
    small; from there to ``last`` by user_daily, which runs that died have written alone."""
    tables = {name: job_table(scope.settings, name) for name in ("cluster_daily", "user_daily")}
    days = {"since": since, "covered": covered, "last": last}
    return dict(connection.execute(compose("months.day_costs", **tables), days).fetchall())

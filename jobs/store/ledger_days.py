"""The days of ledger entries, as a condition; without polars."""

from collections.abc import Iterable
from datetime import date

from psycopg import sql

from jobs.model.windows import last_of


def ledger_days(months: Iterable[date]) -> sql.Composed:
    """The condition that an entry of rollup.credit_draws is of one of ``months``."""
    spans = [sql.SQL("usage_date BETWEEN {} AND {}").format(month, last_of(month)) for month in months]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(spans))

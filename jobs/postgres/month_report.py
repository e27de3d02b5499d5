"""Reads the figures of the operator's report. Everything is of the job's own tables. No polars."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from jobs.domain.billing_periods import last_of
from jobs.postgres.connections import Connection, read_dicts
from jobs.postgres.sql_loader import compose, job_table, join_columns
from jobs.settings import Settings

Row = Mapping[str, Any]
AMOUNTS = (
    "total_cost",
    "credits_free",
    "credits_purchased",
    "credits_deducted",
    "uncovered",
    "amount_due",
    "amount_reported",
    "amount_free",
)
"""The amounts of user_monthly that the report sums."""
LISTS = ("top_users", "ran_out", "rejects", "corrections", "debts", "set_aside")
"""The queries of lists."""
LIST, MOVERS, IDS, RUNS = 20, 10, 5, 10
"""How many rows the lists have at most: of users, of users and clusters that changed most, of ids, of runs."""
_MOST = {"movers": MOVERS, "rejects": IDS}


def read_rows(
    connection: Connection,
    settings: Settings,
    name: str,
    month: date,
    /,
    *,
    parts: Mapping[str, Any] | None = None,
    **values: date,
) -> list[dict[str, Any]]:
    """Returns the rows of the query ``name`` of month_report.sql by column; ``values``: days that it needs besides."""
    bound = {"month": month, "first": month, "last": last_of(month), "most": _MOST.get(name, LIST)} | values
    return read_dicts(connection, compose(f"month_report.{name}", settings, **(parts or {})), **bound)


def read_billing_modes(connection: Connection, settings: Settings, month: date) -> list[dict[str, Any]]:
    """Returns the sums of the users of each billing mode: users, row_count, AMOUNTS, users_ran_out."""
    sums = join_columns("coalesce(sum({0}), 0) AS {0}", AMOUNTS)
    return read_rows(connection, settings, "billing_modes", month, parts={"sums": sums})


def read_day_costs(connection: Connection, settings: Settings, month: date, last: date) -> tuple[Sequence[Row], bool]:
    """Returns the cost of the days of ``month`` up to ``last`` by day and cluster: date, cluster_id (text, or None),
    total_cost, credits_deducted. And whether they are sums of user_daily, so that those of each user can be read.

    They are sums of user_daily where these are the sum of the month's users, else of cluster_daily.
    """
    [cost] = read_rows(connection, settings, "month_cost", month)
    for table in ("user_daily", "cluster_daily"):
        rows = read_rows(connection, settings, "day_costs", month, parts={"table": job_table(settings, table)})
        if sum((row["total_cost"] for row in rows), Decimal()) == (cost["total_cost"] or 0):
            break
    return [row for row in rows if row["date"] <= last], table == "user_daily"


def read_movers(
    connection: Connection, settings: Settings, month: date, before: date, last_before: date
) -> Sequence[Row]:
    """Returns the users whose cost differs most from the days ``before`` to ``last_before`` of the month before:
    user_id, cost, cost_before."""
    which = "whole_month" if last_before == last_of(before) else "first_days"
    parts = {"costs_before": compose(f"month_report.{which}", settings)}
    return read_rows(connection, settings, "movers", month, parts=parts, before=before, last_before=last_before)

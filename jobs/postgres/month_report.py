"""Reads the figures of the operator's report. Everything is of the job's own tables. No polars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from jobs.domain.billing_periods import last_of
from jobs.postgres.connections import Connection, read_dicts, read_value
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
LIST, MOVERS, IDS, RUNS = 20, 10, 5, 10
"""How many rows the lists have at most: of users, of users and clusters that changed most, of ids, of runs."""


@dataclass(frozen=True, slots=True)
class DayCosts:
    """The cost of some days of a month by day and cluster.

    - ``rows``: date, cluster_id (text, or None), total_cost, credits_deducted
    - ``by_user``: whether they are sums of user_daily, so that the same days of each user can be read
    """

    rows: Sequence[Row]
    by_user: bool


def read_closing(connection: Connection, settings: Settings, month: date) -> dict[str, Any]:
    """Returns closed_at (UTC) and closed_by (run id) of a month; None each where it is open."""
    found = read_dicts(connection, compose("month_report.closed_at", settings), month=month)
    return found[0] if found else {"closed_at": None, "closed_by": None}


def read_billing_modes(connection: Connection, settings: Settings, month: date) -> list[Row]:
    """Returns the sums of the users of each billing mode: users, row_count, AMOUNTS, users_ran_out."""
    sums = join_columns("coalesce(sum({0}), 0) AS {0}", AMOUNTS)
    return [*read_dicts(connection, compose("month_report.billing_modes", settings, sums=sums), month=month)]


def read_day_costs(connection: Connection, settings: Settings, month: date, last: date) -> DayCosts:
    """Returns the cost of the days of ``month`` up to ``last`` by day and cluster.

    They are sums of user_daily where these are the sum of the month's users, else of cluster_daily.
    """
    cost = read_value(connection, compose("month_report.month_cost", settings), {"month": month})
    for table in ("user_daily", "cluster_daily"):
        query = compose("month_report.day_costs", settings, table=job_table(settings, table))
        rows = read_dicts(connection, query, first=month, last=last_of(month))
        if sum((row["total_cost"] for row in rows), Decimal()) == (cost or 0):
            break
    return DayCosts([row for row in rows if row["date"] <= last], table == "user_daily")


def read_cluster_names(connection: Connection, settings: Settings, month: date, before: date) -> dict[str | None, Row]:
    """Returns name and users of each cluster of two months by id (text; None: usage without a cluster)."""
    query = compose("month_report.cluster_names", settings)
    return {row["cluster_id"]: row for row in read_dicts(connection, query, month=month, before=before)}


def read_movers(connection: Connection, settings: Settings, month: date, before: date, last_before: date) -> list[Row]:
    """Returns the users whose cost differs most from the days ``before`` to ``last_before`` of the month before:
    user_id, cost, cost_before."""
    which = "whole_month" if last_before == last_of(before) else "first_days"
    query = compose("month_report.movers", settings, costs_before=compose(f"month_report.{which}", settings))
    return [*read_dicts(connection, query, month=month, before=before, last_before=last_before, most=MOVERS)]


def read_list(connection: Connection, settings: Settings, name: str, month: date) -> list[Row]:
    """Returns the rows of a list of the month: top_users, ran_out, rejects, corrections, debts or set_aside."""
    values = {"month": month, "first": month, "last": last_of(month), "most": IDS if name == "rejects" else LIST}
    return [*read_dicts(connection, compose(f"month_report.{name}", settings), **values)]


def read_correction_sums(connection: Connection, settings: Settings, month: date) -> Row:
    """Returns corrections, users and change of cost of all corrections of the month."""
    [row] = read_dicts(connection, compose("month_report.correction_sums", settings), month=month)
    return row


def count_set_aside(connection: Connection, settings: Settings) -> int:
    """Returns how many users are set aside."""
    return int(read_value(connection, compose("month_report.set_aside_count", settings)))

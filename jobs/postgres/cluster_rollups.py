"""The days that batches have touched, and user_daily and user_monthly grouped by cluster for these days.

Polars is imported only where needed: every run asks whether there is anything to regroup.
"""

from collections.abc import Collection, Sequence
from datetime import date
from typing import TYPE_CHECKING

from psycopg import sql

from jobs.domain.billing_periods import first_of
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import column_list, compose, in_spans, join_columns

if TYPE_CHECKING:
    import polars as pl


def touch_days(connection: Connection, scope: RunScope, run_id: int, batch_number: int, days: Collection[date]) -> None:
    """Marks ``days`` as touched, in the transaction of a batch."""
    if days:
        values = {"run_id": run_id, "batch": batch_number, "days": sorted(days)}
        connection.execute(compose("cluster_rollups.touch_days", scope.settings), values)


def days_to_regroup(connection: Connection, scope: RunScope) -> list[date]:
    """Returns days that any run has touched, and days of the window on which the name of a cluster has changed."""
    text = compose(
        "cluster_rollups.days_to_regroup",
        scope.settings,
        names=_names_query(scope),
        days=in_spans("date", scope.window.spans()),
    )
    return [row[0] for row in connection.execute(text, {"months": list(scope.window.months)})]


def untouch_days(connection: Connection, scope: RunScope, days: Collection[date]) -> None:
    """Removes the marks of all runs on ``days``, in the transaction that regroups these days."""
    connection.execute(compose("cluster_rollups.untouch_days", scope.settings), {"days": list(days)})


def read_cluster_names(connection: Connection, scope: RunScope) -> "pl.DataFrame":
    """Returns cluster_id and cluster_name of every cluster. No other column of hopsworks_clusters is ever read."""
    import polars as pl

    rows = connection.execute(_names_query(scope)).fetchall() if scope.source.has_clusters else []
    return pl.DataFrame(
        {"cluster_id": [id_.int for id_, _ in rows], "cluster_name": [name for _, name in rows]},
        schema={"cluster_id": pl.UInt128, "cluster_name": pl.String},
    )


def group_days(connection: Connection, scope: RunScope, days: Sequence[date]) -> "pl.DataFrame":
    """Groups user_daily of ``days`` by day and cluster: users, and the sum of each amount (units of 10^-10)."""
    from jobs.postgres import table_io

    of = table_io.find_table(scope.settings, "cluster_daily")
    amounts = [name for name in of.computed if of.kind(name).startswith("numeric")]
    text = compose(
        "cluster_rollups.grouped_days",
        scope.settings,
        key=column_list(of.key),
        sums=join_columns("sum({0}) AS {0}", amounts),
        days=sql.Literal([day.isoformat() for day in days]),
    )
    return table_io.read_frame(connection, text, table_io.frame_schema(of, [*of.key, "users", *amounts]))


def count_month_users(connection: Connection, scope: RunScope, months: Sequence[date]) -> "pl.DataFrame":
    """Returns the number of distinct users of each month and cluster, as ``active_users``."""
    from jobs.postgres import table_io

    text = compose(
        "cluster_rollups.month_users",
        scope.settings,
        months=sql.Literal([first_of(month).isoformat() for month in months]),
    )
    of = table_io.find_table(scope.settings, "cluster_monthly")
    return table_io.read_frame(connection, text, table_io.frame_schema(of, [*of.key, "active_users"]))


def _names_query(scope: RunScope) -> sql.Composed:
    if scope.source.has_clusters:
        return compose("cluster_rollups.names", scope.settings)
    return compose("cluster_rollups.no_names")

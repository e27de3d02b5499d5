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
from jobs.postgres.sql_loader import app_table, compose, in_spans, job_table

if TYPE_CHECKING:
    import polars as pl


def touch_days(connection: Connection, scope: RunScope, run_id: int, batch_number: int, days: Collection[date]) -> None:
    """Marks ``days`` as touched, in the transaction of a batch."""
    if days:
        values = {"run_id": run_id, "batch": batch_number, "days": sorted(days)}
        table = job_table(scope.settings, "touched_days")
        connection.execute(compose("cluster_rollups.touch_days", touched_days=table), values)


def days_to_regroup(connection: Connection, scope: RunScope) -> list[date]:
    """Returns days that any run has touched, and days of the window on which the name of a cluster has changed."""
    settings = scope.settings
    text = compose(
        "cluster_rollups.days_to_regroup",
        touched_days=job_table(settings, "touched_days"),
        months=job_table(settings, "months"),
        cluster_daily=job_table(settings, "cluster_daily"),
        names=_names_query(scope),
        days=in_spans("date", scope.window.spans()),
    )
    return [row[0] for row in connection.execute(text, {"months": list(scope.window.months)})]


def untouch_days(connection: Connection, scope: RunScope, days: Collection[date]) -> None:
    """Removes the marks of all runs on ``days``, in the transaction that regroups these days."""
    table = job_table(scope.settings, "touched_days")
    connection.execute(compose("cluster_rollups.untouch_days", touched_days=table), {"days": list(days)})


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
    import polars as pl

    from jobs.postgres import table_io

    of = table_io.find_table(scope.settings, "cluster_daily")
    amounts = [name for name in of.computed if of.kind(name).startswith("numeric")]
    # The columns depend on the configured meters.
    sums = sql.SQL(", ").join(sql.SQL("sum({0}) AS {0}").format(sql.Identifier(name)) for name in amounts)
    text = compose(
        "cluster_rollups.grouped_days",
        user_daily=job_table(scope.settings, "user_daily"),
        sums=sums,
        days=sql.Literal([day.isoformat() for day in days]),
    )
    return pl.concat(table_io.read_query(connection, of, ["date", "cluster_id", "users", *amounts], text))


def count_month_users(connection: Connection, scope: RunScope, months: Sequence[date]) -> "pl.DataFrame":
    """Returns the number of distinct users of each month and cluster, as ``active_users``."""
    import polars as pl

    from jobs.postgres import table_io

    text = compose(
        "cluster_rollups.month_users",
        user_monthly=job_table(scope.settings, "user_monthly"),
        months=sql.Literal([first_of(month).isoformat() for month in months]),
    )
    of = table_io.find_table(scope.settings, "cluster_monthly")
    return pl.concat(table_io.read_query(connection, of, ["month", "cluster_id", "active_users"], text))


def _names_query(scope: RunScope) -> sql.Composed:
    if scope.source.has_clusters:
        return compose("cluster_rollups.names", clusters=app_table(scope.settings, "hopsworks_clusters"))
    return compose("cluster_rollups.no_names")

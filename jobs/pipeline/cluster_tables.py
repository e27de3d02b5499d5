"""Cluster tables of some days: cluster_daily from user_daily; cluster_monthly from that, and users of user_monthly."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from jobs.domain.billing_periods import first_of
from jobs.domain.tables import CLUSTER_DAY, CLUSTER_MONTH
from jobs.pipeline.batch_changes import BatchChanges
from jobs.pipeline.table_diff import TableDiff
from jobs.postgres import cluster_rollups, table_io
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.rollups.sums import add_up, count_cluster_users, subtract, sum_cluster_days, sum_cluster_months


@dataclass(slots=True)
class ClusterDeltas:
    """Changes of a dry run in sums by day and cluster, and in users by month and cluster.

    A run does not need them: it has written user_daily and user_monthly before it regroups.
    """

    days: list[pl.DataFrame] = field(default_factory=list)
    users: list[pl.DataFrame] = field(default_factory=list)

    def add(self, changes: BatchChanges) -> None:
        """Adds the changes of a batch."""
        days, months = changes.days, changes.months
        self.days.append(subtract(sum_cluster_days(days.upserts), sum_cluster_days(days.replaced), CLUSTER_DAY))
        self.users.append(
            subtract(count_cluster_users(months.upserts), count_cluster_users(months.replaced), CLUSTER_MONTH)
        )

    @property
    def touched_days(self) -> set[date]:
        return {day for frame in self.days for day in frame["date"]}


def find_cluster_differences(
    connection: Connection, scope: RunScope, days: Sequence[date], deltas: ClusterDeltas | None
) -> list[TableDiff]:
    """Returns what differs in the cluster tables on ``days`` and in their months. Call inside a transaction.

    ``deltas``: of a dry run, which has not written user_daily and user_monthly.
    """
    deltas = deltas or ClusterDeltas()
    settings, months = scope.settings, sorted({first_of(day) for day in days})
    daily, monthly = (table_io.find_table(settings, name) for name in ("cluster_daily", "cluster_monthly"))
    names = cluster_rollups.read_cluster_names(connection, scope)
    stored = table_io.read_months(connection, settings, daily, months)
    is_regrouped = pl.col("date").is_in(list(days))
    grouped = add_up([cluster_rollups.group_days(connection, scope, days), *deltas.days], CLUSTER_DAY)
    named = grouped.filter(pl.col("users") != 0).join(names, on="cluster_id", how="left")
    target = named.select(stored.columns)
    users = add_up([cluster_rollups.count_month_users(connection, scope, months), *deltas.users], CLUSTER_MONTH)
    whole_months = pl.concat([stored.filter(~is_regrouped), target])
    cluster_months = sum_cluster_months(whole_months.lazy(), users.lazy(), settings.meters).collect()
    before = table_io.read_months(connection, settings, monthly, months)
    month_target = cluster_months.join(names, on="cluster_id", how="left").select(before.columns)
    return [
        TableDiff.compare(scope, "cluster_daily", target, stored.filter(is_regrouped)),
        TableDiff.compare(scope, "cluster_monthly", month_target, before),
    ]

"""Cluster tables: cluster_daily and cluster_monthly of some days, regrouped from user_daily and user_monthly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from jobs.domain.billing_periods import first_of
from jobs.pipeline.batch_changes import BatchChanges
from jobs.pipeline.table_diff import TableDiff
from jobs.postgres import cluster_rollups, rollup_io
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.rollups import user_rollups

DAY, MONTH = ["date", "cluster_id"], ["month", "cluster_id"]


@dataclass(slots=True)
class ClusterDeltas:
    """Changes of a dry run in sums by day and cluster, and in users by month and cluster.

    A run does not need them: it has written user_daily and user_monthly before it regroups.
    """

    days: list[pl.DataFrame] = field(default_factory=list)
    users: list[pl.DataFrame] = field(default_factory=list)

    def add(self, changes: BatchChanges) -> None:
        """Adds the changes of a batch."""
        found = changes.differences
        amounts = [name for name, kind in found.daily.upserts.schema.items() if kind == pl.Int128]
        self.days.append(
            _delta(found.daily, DAY, lambda rows: rows.group_by(DAY).agg(pl.len().alias("users"), *map(_sum, amounts)))
        )
        self.users.append(_delta(found.monthly, MONTH, _count_clusters))

    @property
    def touched_days(self) -> set[date]:
        return {day for frame in self.days for day in frame["date"]}


def regroup(connection: Connection, scope: RunScope, days: Sequence[date], deltas: ClusterDeltas) -> list[TableDiff]:
    """Returns what differs in the cluster tables on ``days`` and in their months. Call inside a transaction."""
    settings = scope.settings
    daily, monthly = (rollup_io.find_table(settings, name) for name in ("cluster_daily", "cluster_monthly"))
    months = sorted({first_of(day) for day in days})
    cluster_names = cluster_rollups.read_cluster_names(connection, scope)
    stored = pl.concat(rollup_io.read_stored(connection, settings, daily, months))
    is_regrouped = pl.col("date").is_in(list(days))
    grouped = _sum_parts([cluster_rollups.group_days(connection, scope, days), *deltas.days], DAY)
    target = _add_names(grouped.filter(pl.col("users") != 0), cluster_names)
    daily_diff = TableDiff.find(scope, "cluster_daily", target.select(stored.columns), stored.filter(is_regrouped))
    all_days = pl.concat([stored.filter(~is_regrouped), target.select(stored.columns)])
    users = _sum_parts([cluster_rollups.count_month_users(connection, scope, months), *deltas.users], MONTH)
    by_month = user_rollups.sum_cluster_months(all_days.lazy(), users.lazy(), settings.meters).collect()
    before = pl.concat(rollup_io.read_stored(connection, settings, monthly, months))
    target = _add_names(by_month, cluster_names).select(before.columns)
    return [daily_diff, TableDiff.find(scope, "cluster_monthly", target, before)]


def _add_names(rows: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    return rows.join(names, on="cluster_id", how="left")


def _sum_parts(parts: Sequence[pl.DataFrame], keys: list[str]) -> pl.DataFrame:
    """Returns the sums by ``keys`` over frames of the same columns."""
    columns = parts[0].columns
    aligned = [part.select(columns).cast(dict(parts[0].schema)) for part in parts]  # type: ignore[arg-type]
    return pl.concat(aligned).group_by(keys).agg(pl.all().sum())


def _delta(diff: TableDiff, keys: list[str], summed: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Returns what the changed rows add to sums by ``keys``; ``summed``: computes the sums of rows."""
    before = diff.stored.join(diff.keys, on=list(diff.table.key), how="semi", nulls_equal=True)
    new, old = summed(diff.upserts), summed(before)
    numbers = [name for name in new.columns if name not in keys]
    less = old.with_columns((0 - pl.col(name).cast(pl.Int128)).alias(name) for name in numbers)
    more = new.with_columns(pl.col(name).cast(pl.Int128) for name in numbers)
    return pl.concat([more, less]).group_by(keys).agg(pl.col(numbers).sum())


def _sum(name: str) -> pl.Expr:
    return pl.col(name).sum()


def _count_clusters(rows: pl.DataFrame) -> pl.DataFrame:
    """Returns how many users each cluster has by month; ``rows``: of user_monthly."""
    texts = pl.col("clusters").fill_null("{}").str.strip_chars("{}")
    user_clusters = rows.select("month", clusters=pl.when(texts != "").then(texts.str.split(","))).explode("clusters")
    user_clusters = user_clusters.filter(pl.col("clusters").is_not_null())
    named = pl.when(pl.col("clusters") != user_rollups.NO_CLUSTER).then(pl.col("clusters").str.replace_all("-", ""))
    numbers = named.str.to_integer(base=16, dtype=pl.UInt128)
    return user_clusters.select("month", cluster_id=numbers).group_by(MONTH).agg(pl.len().alias("active_users"))

"""Sums by cluster: cluster_monthly from cluster_daily, and what changed user rows add to the sums of a dry run. Pure.

The server sums cluster_daily from user_daily (``jobs.postgres.cluster_rollups``).
"""

from collections.abc import Sequence

import polars as pl

from jobs.domain.fixed_point_columns import UNMEASURED, WIDE
from jobs.domain.meters import Meter, days_of
from jobs.domain.names import CLUSTER_DAY, CLUSTER_MONTH
from jobs.rollups.user_rollups import NO_CLUSTER, gb_months, sum_amounts


def sum_cluster_months(days: pl.LazyFrame, users: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """Returns the rows of cluster_monthly.

    ``days``: cluster_daily, whole months; ``users``: by month and cluster the distinct users, as ``active_users``.
    """
    levels = [meter.name for meter in meters if meter.is_level]
    return (
        days.with_columns(pl.col("date").dt.month_start().alias("month"))
        .group_by(CLUSTER_MONTH)
        .agg(
            *sum_amounts(meters),
            pl.col("credits_deducted").cast(WIDE).sum(),
            pl.col("users").max().alias("max_users"),
        )
        .with_columns(pl.col(name).alias(days_of(name)) for name in levels)
        .with_columns(gb_months(meters))
        .join(users, on=CLUSTER_MONTH, nulls_equal=True)
        .with_columns(
            UNMEASURED.column("total_cost").divided(UNMEASURED.column("active_users")).wide.alias("cost_per_user"),
            pl.col("active_users").alias("users"),
        )
    )


def sum_by_day(user_days: pl.DataFrame) -> pl.DataFrame:
    """Returns users, and the sum of each amount, by day and cluster; ``user_days``: rows of user_daily."""
    amounts = [name for name, kind in user_days.schema.items() if kind == pl.Int128]
    return user_days.group_by(CLUSTER_DAY).agg(pl.len().alias("users"), pl.col(amounts).sum())


def count_users(user_months: pl.DataFrame) -> pl.DataFrame:
    """Returns ``active_users`` by month and cluster; ``user_months``: rows of user_monthly."""
    texts = pl.col("clusters").fill_null("{}").str.strip_chars("{}")
    by_cluster = user_months.select("month", clusters=pl.when(texts != "").then(texts.str.split(",")))
    by_cluster = by_cluster.explode("clusters").filter(pl.col("clusters").is_not_null())
    named = pl.when(pl.col("clusters") != NO_CLUSTER).then(pl.col("clusters").str.replace_all("-", ""))
    numbers = named.str.to_integer(base=16, dtype=pl.UInt128)
    return by_cluster.select("month", cluster_id=numbers).group_by(CLUSTER_MONTH).agg(pl.len().alias("active_users"))


def subtract(sums: pl.DataFrame, before: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Returns the change from ``before`` to ``sums``, two frames of sums by ``key``."""
    numbers = [name for name in sums.columns if name not in key]
    less = before.with_columns((0 - pl.col(name).cast(pl.Int128)).alias(name) for name in numbers)
    return add_up([sums.with_columns(pl.col(name).cast(pl.Int128) for name in numbers), less], key)


def add_up(parts: Sequence[pl.DataFrame], key: Sequence[str]) -> pl.DataFrame:
    """Returns the sums by ``key`` over frames of the same columns."""
    columns = parts[0].columns
    aligned = [part.select(columns).cast(dict(parts[0].schema)) for part in parts]  # type: ignore[arg-type]
    return pl.concat(aligned).group_by(key).agg(pl.all().sum())

"""Roll-ups: priced rows summed per user and month, per cluster and day, per cluster and month (DESIGN section 5).

In: rows from ``pricing.in_row_order``, priced. Distinct days and users are counted by where they start, in one pass.
Cluster figures of one chunk are parts: a user is in one chunk only, so that sums and distinct users of the parts
add up. ``cluster_daily`` and ``cluster_monthly`` are made of all parts at the end of a run.
"""

from collections.abc import Sequence

import polars as pl

from jobs.compute.exact import UNMEASURED, WIDE, Whole
from jobs.compute.hashes import pays_hash, summed
from jobs.model.frames import cost_of
from jobs.model.meters import Meter

CREDITS = {
    "credits_free": pl.col("free"),
    "credits_purchased": pl.col("purchased"),
    "credits_deducted": pl.col("free") + pl.col("purchased"),
    "uncovered": pl.col("uncovered"),
    "amount_due": pl.col("amount_due"),
    "amount_reported": pl.col("amount_reported"),
}
"""The columns of user_monthly that say how its cost is paid, by what they sum of each row."""


def amounts(meters: Sequence[Meter]) -> list[str]:
    """The additive columns of every roll-up: each meter and its cost, adjustment_cost, total_cost."""
    pairs = [name for meter in meters for name in (meter.name, cost_of(meter.name))]
    return [*pairs, "adjustment_cost", "total_cost"]


def by_user(priced: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """One row per user and month: days, amounts, how it is paid, usage_hash, pays_hash. A level is in GB-months."""
    return (
        # Hashed before rows are grouped: within a group it would be done group by group.
        priced.with_columns(pays_hash().alias("pays_hash"))
        .group_by("user_id", "month")
        .agg(
            pl.col("new_day").sum().cast(pl.Int64).alias("days"),
            *_sums(meters),
            *(how.cast(WIDE).sum().alias(name) for name, how in CREDITS.items()),
            summed(pl.col("row_hash")).alias("usage_hash"),
            summed(pl.col("pays_hash")),
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("unpriced").sum().cast(pl.Int64),
        )
        .with_columns(_gb_months(meters))
        .with_columns(pl.col("user_id").cast(pl.String))
    )


def cluster_days(priced: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """Part of cluster_daily: per day and cluster the distinct users and the sums. A level is GB that day."""
    users = pl.col("new_cluster").sum().cast(pl.Int64).alias("users")
    return priced.group_by("date", "cluster_id").agg(users, *_sums(meters), _deducted(CREDITS["credits_deducted"]))


def cluster_users(priced: pl.LazyFrame) -> pl.LazyFrame:
    """Part of cluster_monthly: per month and cluster the distinct users."""
    users = pl.col("user_id").n_unique().cast(pl.Int64).alias("active_users")
    return priced.group_by("month", "cluster_id").agg(users)


def added(parts: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    """The parts of all chunks as one: summed by ``keys``."""
    return parts.group_by(keys).agg(pl.all().sum())


def cluster_months(days: pl.LazyFrame, users: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """cluster_monthly from the whole of cluster_daily and the distinct users of each month."""
    return (
        days.with_columns(pl.col("date").dt.month_start().alias("month"))
        .group_by("month", "cluster_id")
        .agg(*_sums(meters), _deducted(pl.col("credits_deducted")), pl.col("users").max().alias("max_users"))
        .with_columns(_gb_months(meters))
        .join(users, on=["month", "cluster_id"], nulls_equal=True)
        .with_columns(
            UNMEASURED.column("total_cost").divided(UNMEASURED.column("active_users")).wide.alias("cost_per_user"),
            pl.col("active_users").alias("users"),
        )
    )


def _sums(meters: Sequence[Meter]) -> list[pl.Expr]:
    return [pl.col(name).cast(WIDE).sum() for name in amounts(meters)]


def _deducted(amount: pl.Expr) -> pl.Expr:
    return amount.cast(WIDE).sum().alias("credits_deducted")


def _gb_months(meters: Sequence[Meter]) -> list[pl.Expr]:
    days = Whole(pl.col("month").dt.days_in_month().cast(pl.Int64), 28, 31)
    levels = [meter.name for meter in meters if meter.is_level]
    return [UNMEASURED.column(name).divided(days).wide.alias(name) for name in levels]

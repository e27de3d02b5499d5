"""Roll-ups of rated rows: per user, day and cluster (user_daily), and per user and month (user_monthly).

The cluster tables are made of user_daily and user_monthly (``cluster_days``, ``cluster_months``): they hold nothing
that these do not. In: rows from ``charges.sort_rows``, priced and with their draws.
"""

from collections.abc import Sequence

import polars as pl

from jobs.domain.fixed_point_columns import UNMEASURED, WIDE, BoundedInt
from jobs.domain.meters import Meter, cost_of, days_of
from jobs.domain.schemas import DUE, EARLY, FREE, PREPAID

CREDITS = {
    "credits_free": pl.col("free"),
    "credits_purchased": pl.col("purchased"),
    "credits_deducted": pl.col("free") + pl.col("purchased"),
    "uncovered": pl.col("uncovered"),
    "amount_due": pl.col("amount_due"),
    "amount_reported": pl.col("amount_reported"),
    "amount_free": pl.col("amount_free"),
}
"""The columns of user_monthly that say how its cost is paid, by what they sum of each row."""
BILLING_MODES = {PREPAID: "prepaid", EARLY: "prepaid", FREE: "free", DUE: "postpaid"}
"""What user_monthly.billing_mode says of rows that all have this class; of different ones it says MIXED."""
MIXED = "mixed"
USER_DAY = ("date", "user_id", "cluster_id")
NO_CLUSTER = "NULL"
"""How an array literal writes the cluster of rows that have none."""


def amounts(meters: Sequence[Meter]) -> list[str]:
    """The additive columns of every roll-up: each meter and its cost, adjustment_cost, total_cost."""
    pairs = [name for meter in meters for name in (meter.name, cost_of(meter.name))]
    return [*pairs, "adjustment_cost", "total_cost"]


def user_days(rated: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """What user_daily holds of these rows: sums per day, user and cluster. A level is GB that day."""
    deducted = CREDITS["credits_deducted"].cast(WIDE).sum().alias("credits_deducted")
    return rated.group_by(*USER_DAY).agg(*_sums(meters), deducted).with_columns(pl.col("user_id").cast(pl.String))


def user_months(rated: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """One row per user and month: days, amounts, how it is paid, its clusters, and how many rows were ``unpriced``.

    A level is in GB-months, and summed over its days in ``<meter>_days``. ``clusters`` is an array literal of
    PostgreSQL, sorted.
    """
    levels = [meter.name for meter in meters if meter.is_level]
    modes = pl.col("class").replace_strict(BILLING_MODES, return_dtype=pl.String)
    mode = pl.when(modes.n_unique() == 1).then(modes.first()).otherwise(pl.lit(MIXED))
    clusters = pl.lit("{") + pl.col("cluster_text").unique().sort().str.join(",") + pl.lit("}")
    return (
        rated.with_columns(cluster_text=_cluster_text())
        .group_by("user_id", "month")
        .agg(
            mode.alias("billing_mode"),
            pl.col("new_day").sum().cast(pl.Int64).alias("days"),
            *_sums(meters),
            *(how.cast(WIDE).sum().alias(name) for name, how in CREDITS.items()),
            clusters.alias("clusters"),
            pl.col("unpriced").sum().cast(pl.Int64),
        )
        .with_columns(pl.col(name).alias(days_of(name)) for name in levels)
        .with_columns(_gb_months(meters))
        .with_columns(pl.col("user_id").cast(pl.String))
    )


def _cluster_text() -> pl.Expr:
    """A row's cluster as an array literal writes it. Made once for each cluster: there are few of them."""

    def named(clusters: pl.Series) -> pl.Series:
        known = clusters.unique()
        texts = [NO_CLUSTER if number is None else f"{number:032x}" for number in known]
        words = [t if t == NO_CLUSTER else f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts]
        found = pl.DataFrame({"cluster_id": known, "text": words}, schema={"cluster_id": pl.UInt128, "text": pl.String})
        named_ = clusters.to_frame("cluster_id").join(
            found, on="cluster_id", how="left", nulls_equal=True, maintain_order="left"
        )
        return named_["text"]

    return pl.col("cluster_id").map_batches(named, return_dtype=pl.String)


def cluster_months(days: pl.LazyFrame, users: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """cluster_monthly from all days of its months in cluster_daily, and ``users``: per month and cluster the distinct
    users, as ``active_users``."""
    levels = [meter.name for meter in meters if meter.is_level]
    return (
        days.with_columns(pl.col("date").dt.month_start().alias("month"))
        .group_by("month", "cluster_id")
        .agg(
            *_sums(meters),
            pl.col("credits_deducted").cast(WIDE).sum(),
            pl.col("users").max().alias("max_users"),
        )
        .with_columns(pl.col(name).alias(days_of(name)) for name in levels)
        .with_columns(_gb_months(meters))
        .join(users, on=["month", "cluster_id"], nulls_equal=True)
        .with_columns(
            UNMEASURED.column("total_cost").divided(UNMEASURED.column("active_users")).wide.alias("cost_per_user"),
            pl.col("active_users").alias("users"),
        )
    )


def _sums(meters: Sequence[Meter]) -> list[pl.Expr]:
    return [pl.col(name).cast(WIDE).sum() for name in amounts(meters)]


def _gb_months(meters: Sequence[Meter]) -> list[pl.Expr]:
    days = BoundedInt(pl.col("month").dt.days_in_month().cast(pl.Int64), 28, 31)
    levels = [meter.name for meter in meters if meter.is_level]
    return [UNMEASURED.column(name).divided(days).wide.alias(name) for name in levels]

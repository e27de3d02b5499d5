"""Roll-ups of rated rows: per user, day and cluster (user_daily), and per user and month (user_monthly).

Rows come from ``charges.sort_rows``, priced and with their draws.
"""

from collections.abc import Sequence
from uuid import UUID

import polars as pl

from jobs.domain.fixed_point_columns import UNMEASURED, WIDE, BoundedInt
from jobs.domain.meters import Meter, cost_of, days_of
from jobs.domain.names import USER_DAY
from jobs.domain.schemas import DRAWN, DUE, EARLY, FREE, PREPAID

CREDITS = {
    "credits_free": pl.col("free"),
    "credits_purchased": pl.col("purchased"),
    "credits_deducted": DRAWN,
    "uncovered": pl.col("uncovered"),
    "amount_due": pl.col("amount_due"),
    "amount_reported": pl.col("amount_reported"),
    "amount_free": pl.col("amount_free"),
}
"""The columns of user_monthly that say how its cost is paid: each is the sum of this expression over rows."""
BILLING_MODES = {PREPAID: "prepaid", EARLY: "prepaid", FREE: "free", DUE: "postpaid"}
"""user_monthly.billing_mode by payment class of its rows; MIXED where they have several."""
MIXED = "mixed"
NO_CLUSTER = "NULL"
"""A null cluster in an array literal of PostgreSQL."""


def additive_columns(meters: Sequence[Meter]) -> list[str]:
    """Returns the additive columns of every roll-up: each meter and its cost, adjustment_cost, total_cost."""
    pairs = [name for meter in meters for name in (meter.name, cost_of(meter.name))]
    return [*pairs, "adjustment_cost", "total_cost"]


def sum_user_days(rated: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """Returns the rows of user_daily: sums by day, user and cluster. A level is in GB of that day."""
    deducted = CREDITS["credits_deducted"].cast(WIDE).sum().alias("credits_deducted")
    return rated.group_by(*USER_DAY).agg(*sum_amounts(meters), deducted).with_columns(pl.col("user_id").cast(pl.String))


def sum_user_months(rated: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """Returns one row by user and month: the sums of user_monthly, and how many rows have ``lacks_recorded``.

    A level is in GB-months, and in ``<meter>_days`` summed over days. ``clusters`` is a sorted array literal of
    PostgreSQL.
    """
    levels = [meter.name for meter in meters if meter.is_level]
    of_rows = pl.col("class").replace_strict(BILLING_MODES, return_dtype=pl.String)
    billing_mode = pl.when(of_rows.n_unique() == 1).then(of_rows.first()).otherwise(pl.lit(MIXED))
    cluster_texts = pl.col("cluster_id").map_batches(_format_clusters, return_dtype=pl.String)
    clusters = pl.lit("{") + pl.col("_cluster_text").unique().sort().str.join(",") + pl.lit("}")
    return (
        rated.with_columns(_cluster_text=cluster_texts)
        .group_by("user_id", "month")
        .agg(
            billing_mode.alias("billing_mode"),
            pl.col("new_day").sum().cast(pl.Int64).alias("days"),
            *sum_amounts(meters),
            *(amount.cast(WIDE).sum().alias(name) for name, amount in CREDITS.items()),
            clusters.alias("clusters"),
            pl.col("lacks_recorded").sum().cast(pl.Int64),
        )
        .with_columns(pl.col(name).alias(days_of(name)) for name in levels)
        .with_columns(gb_months(meters))
        .with_columns(pl.col("user_id").cast(pl.String))
    )


def _format_clusters(clusters: pl.Series) -> pl.Series:
    """Returns clusters as text in an array literal. Each one is formatted once: there are few of them."""
    known = clusters.unique()
    texts = [NO_CLUSTER if number is None else str(UUID(int=number)) for number in known]
    by_id = pl.DataFrame({"cluster_id": known, "text": texts}, schema={"cluster_id": pl.UInt128, "text": pl.String})
    rows = clusters.to_frame("cluster_id")
    return rows.join(by_id, on="cluster_id", how="left", nulls_equal=True, maintain_order="left")["text"]


def sum_amounts(meters: Sequence[Meter]) -> list[pl.Expr]:
    """Returns the sum of each additive column."""
    return [pl.col(name).cast(WIDE).sum() for name in additive_columns(meters)]


def gb_months(meters: Sequence[Meter]) -> list[pl.Expr]:
    """Returns each level in GB-months, from its sum over days."""
    days = BoundedInt(pl.col("month").dt.days_in_month().cast(pl.Int64), 28, 31)
    levels = [meter.name for meter in meters if meter.is_level]
    return [UNMEASURED.column(name).divided(days).wide.alias(name) for name in levels]

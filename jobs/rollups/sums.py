"""Sums of rated rows: per user, day and cluster (user_daily), per user and month (user_monthly), and per cluster.

Rows come from ``charges.sort_rows``, priced and with their draws. The server sums cluster_daily from user_daily
(``jobs.postgres.cluster_rollups``); cluster_monthly is summed from cluster_daily here. For a dry run, the changed rows
of user_daily are summed here too.
"""

from collections.abc import Sequence
from uuid import UUID

import polars as pl

from jobs.domain.fixed_point_columns import WIDE, divide_half_even
from jobs.domain.meters import Meter, additive_columns, days_of
from jobs.domain.schemas import DRAWN, DUE, EARLY, FREE, PREPAID
from jobs.domain.tables import CLUSTER_DAY, CLUSTER_MONTH, USER_DAY

PAYMENT_SUMS = {
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


def sum_user_days(rows: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
    """Returns the rows of user_daily: sums by day, user and cluster. A level is in GB of that day."""
    deducted = PAYMENT_SUMS["credits_deducted"].cast(WIDE).sum().alias("credits_deducted")
    return rows.group_by(*USER_DAY).agg(*sum_amounts(meters), deducted).with_columns(pl.col("user_id").cast(pl.String))


def sum_user_months(rows: pl.LazyFrame, meters: Sequence[Meter]) -> pl.LazyFrame:
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
        rows.with_columns(_cluster_text=cluster_texts)
        .group_by("user_id", "month")
        .agg(
            billing_mode.alias("billing_mode"),
            pl.col("starts_day").sum().cast(pl.Int64).alias("days"),
            *sum_amounts(meters),
            *(amount.cast(WIDE).sum().alias(name) for name, amount in PAYMENT_SUMS.items()),
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
    days = pl.col("month").dt.days_in_month()
    levels = [meter.name for meter in meters if meter.is_level]
    return [divide_half_even(pl.col(name), days).alias(name) for name in levels]


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
            cost_per_user=divide_half_even(pl.col("total_cost"), pl.col("active_users")),
            users=pl.col("active_users"),
        )
    )


def sum_cluster_days(user_days: pl.DataFrame) -> pl.DataFrame:
    """Returns users, and the sum of each amount, by day and cluster; ``user_days``: rows of user_daily."""
    amounts = [name for name, kind in user_days.schema.items() if kind == pl.Int128]
    return user_days.group_by(CLUSTER_DAY).agg(pl.len().alias("users"), pl.col(amounts).sum())


def count_cluster_users(user_months: pl.DataFrame) -> pl.DataFrame:
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

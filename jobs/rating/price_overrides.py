"""Overrides: which price or discount replaces the card of a user and meter on a day (DESIGN section 2)."""

from datetime import date

import polars as pl

from jobs.domain.schemas import CODED

PRICE, DISCOUNT, ID = "override_price_", "override_discount_", "override_id_"
BY_DAY = ("user_id", "date")


def by_day(overrides: pl.LazyFrame, first: date, last: date) -> pl.LazyFrame:
    """One row per user, meter and day of ``first`` to ``last`` that an override touches: the one that holds.

    In: ``schemas.OVERRIDES``. Of several on a day the highest rank (latest from, then created_at, then id) holds.
    """
    days = pl.date_ranges(pl.max_horizontal("first", pl.lit(first)), pl.min_horizontal("last", pl.lit(last)))
    return (
        overrides.filter(pl.col("first").fill_null(first) <= last, pl.col("last").fill_null(last) >= first)
        .with_columns(pl.col("first").fill_null(first), pl.col("last").fill_null(last))
        .with_columns(days.alias("date"))
        .explode("date")
        .sort("rank")
        .unique(["user_id", "meter", "date"], keep="last", maintain_order=True)
        .select("user_id", "meter", "date", "price", "discount", "id")
    )


def joined(ordered: pl.LazyFrame, overrides: pl.LazyFrame, meters: frozenset[str]) -> pl.LazyFrame:
    """``ordered`` usage with each overridden meter's price, discount and override id of the day, or nulls."""
    for meter in sorted(meters):
        mine = overrides.filter(pl.col("meter") == meter).select(
            CODED,
            "date",
            pl.col("price").alias(PRICE + meter),
            pl.col("discount").alias(DISCOUNT + meter),
            pl.col("id").alias(ID + meter),
        )
        ordered = ordered.join(mine, on=BY_DAY, how="left", maintain_order="left")
    return ordered

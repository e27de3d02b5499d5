"""Price overrides: the price or discount that replaces a user's card of a meter on a day (manual: prices)."""

from datetime import date

import polars as pl

from jobs.domain.schemas import USER_AS_CATEGORY

PRICE, DISCOUNT, ID = "override_price_", "override_discount_", "override_id_"
_USER_DAY = ("user_id", "date")


def expand_overrides(overrides: pl.LazyFrame, first: date, last: date) -> pl.LazyFrame:
    """Returns the override that holds for each user, meter and day of ``first`` to ``last``, if there is one.

    ``overrides``: schemas.OVERRIDES. Of several on one day the one with the highest rank holds (latest from, then
    created_at, then id).
    """
    since, until = pl.max_horizontal("first", pl.lit(first)), pl.min_horizontal("last", pl.lit(last))
    return (
        overrides.filter(since <= until)
        .with_columns(date=pl.date_ranges(since, until))
        .explode("date")
        .sort("rank")
        .unique(["user_id", "meter", "date"], keep="last", maintain_order=True)
        .select("user_id", "meter", "date", "price", "discount", "id")
    )


def join_overrides(ordered: pl.LazyFrame, overrides: pl.LazyFrame, meters: frozenset[str]) -> pl.LazyFrame:
    """Adds price, discount and id of the override of the day for each of ``meters``; null where there is none.

    ``overrides``: one row per user, meter and day (``expand_overrides``).
    """
    for meter in sorted(meters):
        of_meter = overrides.filter(pl.col("meter") == meter).select(
            USER_AS_CATEGORY,
            "date",
            pl.col("price").alias(PRICE + meter),
            pl.col("discount").alias(DISCOUNT + meter),
            pl.col("id").alias(ID + meter),
        )
        ordered = ordered.join(of_meter, on=_USER_DAY, how="left", maintain_order="left")
    return ordered

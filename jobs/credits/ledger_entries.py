"""What must be booked so that the ledger shows the draws that were computed."""

import polars as pl

from jobs.credits.lots import LOTS
from jobs.domain.fixed_point_columns import WIDE

KEY = ["user_id", "id", "month"]
_OF_ROW = ["user_id", "id"]


def make_postings(rows: pl.LazyFrame, accounts: pl.LazyFrame, booked: pl.LazyFrame) -> pl.LazyFrame:
    """What must be booked so that the ledger shows the draws of ``rows``: one row per key that differs.

    Out: user_id, id, month, date, free, purchased (signed), ``fresh`` (nothing stands for the row in this window),
    ``vanished`` (the key has no row any more). Users without an account are left as they are.
    """
    target = rows.select(pl.col("user_id").cast(pl.String), "id", "month", "date", *LOTS)
    known = booked.join(accounts, on="user_id", how="semi")
    stands = known.group_by(*_OF_ROW, pl.col("date").dt.month_start().alias("month")).agg(
        *(pl.col(lot).sum().alias(f"booked_{lot}") for lot in LOTS), pl.col("date").max().alias("booked_date")
    )
    touched = pl.concat(
        [target.filter((pl.col("free") != 0) | (pl.col("purchased") != 0)).select(KEY), stands.select(KEY)]
    )
    live = target.join(touched.unique(), on=KEY, how="semi").with_columns(live=pl.lit(value=True))
    seen = (
        known.filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
        .select(_OF_ROW)
        .unique()
        .with_columns(seen=pl.lit(value=True))
    )
    return (
        live.join(accounts, on="user_id", how="semi")
        .join(stands, on=KEY, how="full", coalesce=True)
        .select(
            *KEY,
            pl.coalesce("date", "booked_date").alias("date"),
            *((pl.col(lot).fill_null(0) - pl.col(f"booked_{lot}").fill_null(0)).cast(WIDE).alias(lot) for lot in LOTS),
            pl.col("live").is_null().alias("vanished"),
        )
        .filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
        .join(seen, on=_OF_ROW, how="left")
        .with_columns(pl.col("seen").is_null().alias("fresh"))
        .drop("seen")
        .sort("user_id", "date", "id", "month")
    )

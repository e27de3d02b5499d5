"""Ledger entries to post so that the ledger has the draws that were computed."""

import polars as pl

from jobs.credits.lots import LOTS
from jobs.domain.fixed_point_columns import WIDE

KEY = ["user_id", "id", "month"]
_ROW_KEY = ["user_id", "id"]


def make_postings(rows: pl.LazyFrame, accounts: pl.LazyFrame, ledger: pl.LazyFrame) -> pl.LazyFrame:
    """Returns the differences between the draws of ``rows`` and the ``ledger``, one row per KEY that differs.

    Users without an account are left as they are. Columns: user_id, id, month, date; free and purchased (signed,
    units of 10^-10); ``fresh``: whether the ledger has no draws on the row in this window; ``vanished``: whether there
    is no row of this user in this month any more.

    - ``rows``: with their draws, of one draw window;
    - ``accounts``: schemas.ACCOUNTS;
    - ``ledger``: the draws that the ledger has in the window (schemas.DRAWS).
    """
    has_draws = (pl.col("free") != 0) | (pl.col("purchased") != 0)
    target = rows.select(pl.col("user_id").cast(pl.String), "id", "month", "date", *LOTS)
    entries = ledger.join(accounts, on="user_id", how="semi")
    stored = entries.group_by(*_ROW_KEY, pl.col("date").dt.month_start().alias("month")).agg(
        *(pl.col(lot).sum().alias(f"ledger_{lot}") for lot in LOTS), pl.col("date").max().alias("ledger_date")
    )
    concerned = pl.concat([target.filter(has_draws).select(KEY), stored.select(KEY)])
    present = target.join(concerned.unique(), on=KEY, how="semi").with_columns(is_present=pl.lit(value=True))
    drawn_before = entries.filter(has_draws).select(_ROW_KEY).unique().with_columns(was_drawn=pl.lit(value=True))
    return (
        present.join(accounts, on="user_id", how="semi")
        .join(stored, on=KEY, how="full", coalesce=True)
        .select(
            *KEY,
            pl.coalesce("date", "ledger_date").alias("date"),
            *((pl.col(lot).fill_null(0) - pl.col(f"ledger_{lot}").fill_null(0)).cast(WIDE).alias(lot) for lot in LOTS),
            pl.col("is_present").is_null().alias("vanished"),
        )
        .filter(has_draws)
        .join(drawn_before, on=_ROW_KEY, how="left")
        .with_columns(pl.col("was_drawn").is_null().alias("fresh"))
        .drop("was_drawn")
        .sort("user_id", "date", "id", "month")
    )

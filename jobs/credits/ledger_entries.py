"""Ledger entries: the draws that a window has, and what to post so that it has those that were computed."""

import polars as pl

from jobs.domain.billing_periods import Window
from jobs.domain.fixed_point_columns import WIDE
from jobs.domain.rules import LOTS
from jobs.domain.schemas import DRAWS, IS_DRAWN, ROW_KEY

POSTING_KEY = [*ROW_KEY, "month"]


def select_window_draws(draws: pl.DataFrame, rows: pl.DataFrame, window: Window) -> pl.DataFrame:
    """Returns the draws that the run decides about (schemas.DRAWS).

    Draws on days after the last day of the run are left out: another program may have made them, and they stay until
    a run covers these days. Draws of a row that has moved to a covered day are included.
    """
    is_later = pl.col("date") > window.last
    if not draws.select(is_later.any()).item():
        return draws
    present = rows.select("id", pl.col("user_id").cast(pl.String))
    return pl.concat([draws.filter(~is_later), draws.filter(is_later).join(present, on=ROW_KEY, how="semi")])


def make_zero_draws(adopted: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns an imported draw of 0 for each of ``rows`` on which draws were adopted in another month (schemas.DRAWS).

    It makes the row prepaid in this month as well. ``adopted``: id and user_id of such rows.
    """
    if adopted.is_empty():
        return pl.DataFrame(schema=DRAWS)
    concerned = rows.select("id", pl.col("user_id").cast(pl.String), "date").join(adopted, on=ROW_KEY, how="semi")
    zeros = concerned.with_columns(imported=pl.lit(value=True), free=0, purchased=0)
    return zeros.select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def find_vanished_draws(draws: pl.DataFrame, usage: pl.DataFrame) -> pl.DataFrame:
    """Returns ``draws`` of rows that are deleted or another user's now, summed by row and user (schemas.DRAWS).

    A run reverses them. ``draws``: of the window; ``usage``: all rows of the users.
    """
    if draws.is_empty():
        return draws
    sums = (
        draws.lazy()
        .group_by(ROW_KEY)
        .agg(pl.col("date").max(), pl.col("imported").any(), pl.col("free").sum(), pl.col("purchased").sum())
    )
    present = usage.lazy().select("id", pl.col("user_id").cast(pl.String))
    vanished = sums.filter(IS_DRAWN).join(present, on=ROW_KEY, how="anti")
    return vanished.select(pl.col(name).cast(kind) for name, kind in DRAWS.items()).collect()


def make_postings(rows: pl.LazyFrame, accounts: pl.LazyFrame, draws: pl.LazyFrame) -> pl.LazyFrame:
    """Returns the differences between what ``rows`` should draw and have drawn, one row per POSTING_KEY that differs.

    Users without an account are left as they are. Columns: user_id, id, month, date; free and purchased (signed,
    units of 10^-10); ``is_first_draw``: whether the ledger has no draws on the row in this window; ``vanished``:
    whether there is no row of this user in this month any more.

    - ``rows``: with the draws that they should have, of one draw window;
    - ``accounts``: schemas.ACCOUNTS;
    - ``draws``: the draws that the ledger has in the window (schemas.DRAWS).
    """
    target = rows.select(pl.col("user_id").cast(pl.String), "id", "month", "date", *LOTS)
    entries = draws.join(accounts, on="user_id", how="semi")
    stored = entries.group_by(*ROW_KEY, pl.col("date").dt.month_start().alias("month")).agg(
        *(pl.col(lot).sum().alias(f"ledger_{lot}") for lot in LOTS), pl.col("date").max().alias("ledger_date")
    )
    concerned = pl.concat([target.filter(IS_DRAWN).select(POSTING_KEY), stored.select(POSTING_KEY)])
    present = target.join(concerned.unique(), on=POSTING_KEY, how="semi").with_columns(is_present=pl.lit(value=True))
    drawn_before = entries.filter(IS_DRAWN).select(ROW_KEY).unique().with_columns(was_drawn=pl.lit(value=True))
    return (
        present.join(accounts, on="user_id", how="semi")
        .join(stored, on=POSTING_KEY, how="full", coalesce=True)
        .select(
            *POSTING_KEY,
            pl.coalesce("date", "ledger_date").alias("date"),
            *((pl.col(lot).fill_null(0) - pl.col(f"ledger_{lot}").fill_null(0)).cast(WIDE).alias(lot) for lot in LOTS),
            pl.col("is_present").is_null().alias("vanished"),
        )
        .filter(IS_DRAWN)
        .join(drawn_before, on=ROW_KEY, how="left")
        .with_columns(pl.col("was_drawn").is_null().alias("is_first_draw"))
        .drop("was_drawn")
        .sort("user_id", "date", "id", "month")
    )

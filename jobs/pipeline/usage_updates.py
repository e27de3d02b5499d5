"""The rows of usage_daily to write: a new total_cost (rated months), a new credits_deducted, or both. Pure.

Columns: id, user_id, date, month; written_hash, recorded, deducted (as read); new_total_cost and new_credits_deducted
(units of 10^-10, null where the column is not written).
"""

import polars as pl

from jobs.domain.schemas import DRAWN, USER_AS_CATEGORY

KEPT = ["id", "user_id", "date", "month", "written_hash", "recorded", "deducted"]


def make_usage_updates(
    rows: pl.DataFrame,
    rejected: pl.DataFrame,
    postings: pl.DataFrame,
    mismatched: pl.DataFrame,
    *,
    writes_deducted: bool,
) -> pl.DataFrame:
    """Returns which of ``rows`` and ``rejected`` are to be written.

    - ``rows``: with their draws; ``rejected``: rows that cannot be priced, on which nothing is drawn;
    - ``postings``: credits.allocation.make_postings; ``mismatched``: schemas.MISMATCHED;
    - ``writes_deducted``: whether runs write credits_deducted.
    """
    # Joins copy every column, so the others are left out.
    priced = rows.select(*KEPT, "new_total_cost")
    month = pl.col("date").dt.month_start().alias("month")
    unpriced = rejected.with_columns(USER_AS_CATEGORY, month).select(*KEPT, new_total_cost=pl.lit(None, pl.Int128))
    every = pl.concat([priced, unpriced]).lazy().with_columns(pl.col("recorded", "deducted").cast(pl.Int128))
    writes_cost = pl.col("new_total_cost").is_not_null() & pl.col("recorded").ne_missing(pl.col("new_total_cost"))
    new_total_cost = pl.when(writes_cost).then("new_total_cost")
    if not writes_deducted:
        written = every.filter(writes_cost).with_columns(new_total_cost=new_total_cost)
        return written.with_columns(new_credits_deducted=pl.lit(None, pl.Int128)).collect()
    posted = postings.lazy().group_by("id", USER_AS_CATEGORY).agg(DRAWN.sum().alias("_posted"))
    ledger = mismatched.lazy().select("id", ledger="drawn")
    # The new value is what the ledger has on the row in all months, and what is posted now. Where the row agrees with
    # the ledger, ``deducted`` is what the ledger has; where it does not, ``ledger`` is.
    new_deducted = pl.coalesce("ledger", "deducted") + pl.col("_posted").fill_null(0)
    writes_credits = new_deducted.ne_missing(pl.col("deducted"))
    return (
        every.join(posted, on=["id", "user_id"], how="left")
        .join(ledger, on="id", how="left")
        .with_columns(new_total_cost=new_total_cost, new_credits_deducted=pl.when(writes_credits).then(new_deducted))
        .filter(writes_cost | pl.col("new_credits_deducted").is_not_null())
        .drop("_posted", "ledger")
        .collect()
    )


def make_debt_updates(debts: pl.DataFrame, *, writes_deducted: bool) -> pl.DataFrame:
    """Returns the rows of settled or refilled ``debts`` (credits.debts) that are to be written."""
    if not writes_deducted:
        debts = debts.clear()
    nothing = pl.lit(None, pl.Int128)
    return debts.select(
        "id",
        USER_AS_CATEGORY,
        "date",
        "month",
        # written_hash of user_monthly includes the row as the ledger has it.
        written_hash="ledger_hash",
        recorded=nothing,
        deducted="deducted",
        new_total_cost=nothing,
        new_credits_deducted=pl.col("drawn") + DRAWN,
    )

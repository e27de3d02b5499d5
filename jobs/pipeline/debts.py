"""Debts: what prepaid users owe for a month that closes (rollup.debts), and what later credit settles of it.

Closing freezes cost, not debt: nothing of a closed month is rated again. A debt that is settled changes the draws of
its row, and what user_daily and user_monthly say of draws and uncovered usage.
"""

from collections.abc import Collection

import polars as pl

from jobs.compute.causes import SUMS, UNCHANGED
from jobs.compute.exact import whole
from jobs.model.frames import CODED
from jobs.pipeline.batch_input import BatchInput
from jobs.postgres.run_scope import RunScope

KEY, OF_DAY, OF_MONTH = (
    ["usage_daily_id", "user_id", "usage_date"],
    ["date", "user_id", "cluster_id"],
    ["month", "user_id"],
)
TAKEN = pl.col("free") + pl.col("purchased")


def settled_postings(settled: pl.DataFrame, columns: Collection[str]) -> pl.DataFrame:
    """What is posted of ``settled`` debts: corrections of their rows (compute.postings)."""
    return settled.with_columns(vanished=False, fresh=False, first=False).select(columns)


def settled_rows(scope: RunScope, settled: pl.DataFrame) -> pl.DataFrame:
    """The rows of usage_daily of which debts are settled (allocation.rows_to_write)."""
    if not scope.query.read.credits.shown:
        settled = settled.clear()
    nothing = pl.lit(None, pl.Int128)
    return settled.select(
        "id", CODED, "date", "month", "written_hash", "deducted",
        recorded=nothing, target=nothing, credits=pl.col("drawn") + TAKEN,
    )  # fmt: skip


def debts_target(scope: RunScope, read: BatchInput, rows: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
    """What rollup.debts shall hold of the users of ``read``: settled debts less what is settled, and those of months
    that are computed anew as their ``rows`` come to, of which a write-off is kept up to the new amount."""
    stored = read.debts
    taken = settled.select("user_id", usage_daily_id="id", usage_date="date", taken=TAKEN)
    month = pl.col("usage_date").dt.month_start().alias("month")
    anew = sorted(scope.window.indebting)
    kept = (
        stored.filter(~month.is_in(anew))
        .join(taken, on=KEY, how="left")
        .with_columns(settled=pl.col("settled") + pl.col("taken").fill_null(0))
        .select(stored.columns)
    )
    if not anew or scope.query.read.credits.account is None:
        return kept
    owed = rows.filter(pl.col("month").is_in(anew) & (pl.col("uncovered") > 0)).select(
        usage_daily_id="id", user_id=pl.col("user_id").cast(pl.String), usage_date="date", amount="uncovered"
    )
    of_row = ["usage_daily_id", "user_id", "month"]
    before = stored.select("usage_daily_id", "user_id", month, "written_off", "reason")
    written_off = pl.min_horizontal(pl.col("written_off").fill_null(0), "amount")
    fresh = (
        owed.with_columns(month)
        .join(before, on=of_row, how="left")
        .with_columns(settled=whole(0), written_off=written_off)
        .with_columns(reason=pl.when(pl.col("written_off") > 0).then("reason"))
    )
    return pl.concat([kept, fresh.select(pl.col(name).cast(kind) for name, kind in stored.schema.items())])


def open_totals(debts: pl.DataFrame) -> pl.DataFrame:
    """By user what is open of ``debts``, as detection puts it into credits_hash: user_id, debts (text)."""
    sums = debts.group_by("user_id").agg(
        (pl.col("amount") - pl.col("settled") - pl.col("written_off")).sum().alias("left")
    )
    return sums.filter(pl.col("left") > 0).select("user_id", debts=pl.col("left").cast(pl.String))


def settled_days(read: BatchInput, settled: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of user_daily of which debts are settled: as they shall be, and as they are stored."""
    sums = settled.group_by(OF_DAY).agg(TAKEN.sum().alias("taken"))
    stored = read.closed_days.join(sums, on=OF_DAY, how="semi", nulls_equal=True)
    changed = stored.join(sums, on=OF_DAY, how="left", nulls_equal=True)
    return changed.with_columns(pl.col("credits_deducted") + pl.col("taken")).select(stored.columns), stored


def settled_months(read: BatchInput, settled: pl.DataFrame, written: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same of user_monthly. ``written``: what writing the rows changes in written_hash."""
    sums = settled.group_by(OF_MONTH).agg(pl.col("free", "purchased").sum())
    stored = read.closed_months.join(sums, on=OF_MONTH, how="semi")
    changed = stored.join(sums, on=OF_MONTH, how="left").join(written, on=OF_MONTH, how="left")
    return (
        changed.with_columns(
            pl.col("credits_free") + pl.col("free"),
            pl.col("credits_purchased") + pl.col("purchased"),
            pl.col("credits_deducted") + TAKEN,
            pl.col("uncovered") - TAKEN,
            pl.col("written_hash").xor(pl.col("changed").fill_null(0)),
        ).select(stored.columns),
        stored,
    )


def settled_causes(changed: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """What goes into rollup.corrections of settled debts (compute.causes)."""
    before, after = (
        months.select(*OF_MONTH, **{f"{when}_{name}": column for name, column in SUMS.items()})
        for when, months in (("old", stored), ("new", changed))
    )
    return before.join(after, on=OF_MONTH).with_columns(cause=pl.lit("credit")).select(UNCHANGED.columns)

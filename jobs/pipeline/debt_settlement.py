"""Debts: what prepaid users owe for a month that closes (rollup.debts), and what later credit settles of it.

Closing freezes cost, not debt: nothing of a closed month is rated again. A debt that is settled changes the draws of
its row, and what user_daily and user_monthly say of draws and uncovered usage.
"""

from collections.abc import Collection

import polars as pl

from jobs.domain.fixed_point_columns import int128
from jobs.domain.schemas import CODED
from jobs.pipeline import foreign_draws
from jobs.pipeline.batch_input import BatchInput
from jobs.postgres.run_scope import RunScope
from jobs.rollups.causes import SUMS, UNCHANGED

KEY, OF_DAY, OF_MONTH = (
    ["usage_daily_id", "user_id", "usage_date"],
    ["date", "user_id", "cluster_id"],
    ["month", "user_id"],
)
TAKEN = pl.col("free") + pl.col("purchased")
PAID = {"free": pl.Int128, "purchased": pl.Int128}
"""What is drawn on a debt, beside what is known of it (batch_inputs.PAYABLE)."""


def adopt_debts(payable: pl.DataFrame, adopted: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``payable`` debts once the draws that were ``adopted`` are in the ledger, and those that these settle (PAID)."""
    found = payable.join(adopted.select("id", "date", *PAID), on=["id", "date"], how="left", maintain_order="left")
    more = TAKEN.fill_null(0)
    known = pl.when(pl.col("free").is_null()).then("ledger_hash").otherwise("written_hash")
    after = found.with_columns(
        pl.col("settled") + more, pl.col("open") - more, pl.col("drawn") + more, ledger_hash=known
    )
    return after.select(payable.columns), found.filter(pl.col("free").is_not_null())


def refilled_debts(payable: pl.DataFrame, odd: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
    """``payable`` debts whose rows shall show again what the ledger has (``odd``: batch_inputs.MISMATCHED), although
    nothing is drawn on them (PAID)."""
    key = ["id", "date"]
    rows = payable.join(odd.filter(foreign_draws.ODD), on=key, how="semi").join(settled, on=key, how="anti")
    return rows.with_columns(free=int128(0), purchased=int128(0))


def settled_postings(settled: pl.DataFrame, columns: Collection[str]) -> pl.DataFrame:
    """What is posted of ``settled`` debts: corrections of their rows (credits.ledger_entries)."""
    return settled.with_columns(vanished=False, fresh=False, first=False).select(columns)


def settled_rows(scope: RunScope, settled: pl.DataFrame) -> pl.DataFrame:
    """The rows of usage_daily of which debts are ``settled``, or refilled (draw_windows.rows_to_write)."""
    if not scope.query.read.credits.shown:
        settled = settled.clear()
    nothing = pl.lit(None, pl.Int128)
    return settled.select(
        "id", CODED, "date", "month", "deducted",
        # user_monthly has the row as the ledger says.
        written_hash="ledger_hash", recorded=nothing, target=nothing, credits=pl.col("drawn") + TAKEN,
    )  # fmt: skip


def debts_target(
    scope: RunScope, read: BatchInput, rows: pl.DataFrame, settled: pl.DataFrame, posted: pl.Series
) -> pl.DataFrame:
    """What rollup.debts shall hold of the users of ``read``: debts of other months less what is ``settled`` now, and of
    months that the run closes or computes again what their ``rows`` come to, of which a write-off is kept up to the new
    amount. A debt of which as much is owed as before stays as it is: ``posted`` are the ids of rows whose draws change.
    """
    stored = read.debts
    taken = settled.group_by("user_id", usage_daily_id="id", usage_date="date").agg(TAKEN.sum().alias("taken"))
    month = pl.col("usage_date").dt.month_start().alias("month")
    anew = sorted(scope.window.debt_months)
    kept = (
        stored.filter(~month.is_in(anew))
        .join(taken, on=KEY, how="left")
        .with_columns(settled=pl.col("settled") + pl.col("taken").fill_null(0))
        .select(stored.columns)
    )
    if not anew or scope.query.read.credits.account is None:
        return kept
    computed = rows.filter(pl.col("month").is_in(anew)).select(
        usage_daily_id="id", user_id=pl.col("user_id").cast(pl.String), usage_date="date", owed="uncovered"
    )
    same = (
        stored.join(computed, on=KEY, how="inner")
        .filter(pl.col("amount") - pl.col("settled") == pl.col("owed"))
        .filter(~pl.col("usage_daily_id").is_in(posted.implode()))
        .select(stored.columns)
    )
    of_row = ["usage_daily_id", "user_id", "month"]
    before = stored.select("usage_daily_id", "user_id", month, "written_off", "reason")
    written_off = pl.min_horizontal(pl.col("written_off").fill_null(0), "amount")
    fresh = (
        computed.filter(pl.col("owed") > 0)
        .join(same, on=KEY, how="anti")
        .rename({"owed": "amount"})
        .with_columns(month)
        .join(before, on=of_row, how="left")
        .with_columns(settled=int128(0), written_off=written_off)
        .with_columns(reason=pl.when(pl.col("written_off") > 0).then("reason"))
    )
    return pl.concat([kept, same, fresh.select(pl.col(name).cast(kind) for name, kind in stored.schema.items())])


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


def settled_months(
    read: BatchInput, settled: pl.DataFrame, adopted: pl.DataFrame, written: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same of user_monthly. ``written``: what writing the rows of ``settled`` debts changes in written_hash. The
    rows of those that ``adopted`` draws have settled are not written: they show what the ledger says now."""
    shows = adopted.select(*OF_MONTH, *PAID, hash=pl.col("ledger_hash").xor("written_hash"))
    sums = (
        pl.concat([settled.select(*OF_MONTH, *PAID, hash=pl.lit(0, pl.Int64)), shows])
        .group_by(OF_MONTH)
        .agg(pl.col(*PAID).sum(), pl.col("hash").bitwise_xor())
    )
    stored = read.closed_months.join(sums, on=OF_MONTH, how="semi")
    changed = stored.join(sums, on=OF_MONTH, how="left").join(written, on=OF_MONTH, how="left")
    return (
        changed.with_columns(
            pl.col("credits_free") + pl.col("free"),
            pl.col("credits_purchased") + pl.col("purchased"),
            pl.col("credits_deducted") + TAKEN,
            pl.col("uncovered") - TAKEN,
            pl.col("written_hash").xor(pl.col("changed").fill_null(0)).xor("hash"),
        ).select(stored.columns),
        stored,
    )


def settled_causes(changed: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """What goes into rollup.corrections of settled debts (rollups.causes)."""
    before, after = (
        months.select(*OF_MONTH, **{f"{when}_{name}": column for name, column in SUMS.items()})
        for when, months in (("old", stored), ("new", changed))
    )
    return before.join(after, on=OF_MONTH).with_columns(cause=pl.lit("credit")).select(UNCHANGED.columns)

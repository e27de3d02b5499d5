"""Debts: what prepaid users owe for a month that closes (rollup.debts), and what later credit settles of it. Pure.

Closing a month freezes its cost, not its debt. Settling a debt rates nothing again. It changes the draws of its row,
and the draws and the uncovered amount in user_daily and user_monthly. What is drawn on a debt now is added to it
(schemas.PAYABLE) in the columns of LOTS.
"""

from collections.abc import Collection
from datetime import date

import polars as pl

from jobs.domain.fixed_point_columns import int128
from jobs.domain.rules import LOTS
from jobs.domain.schemas import DRAWN, IS_UNEXPLAINED
from jobs.domain.tables import USER_DAY, USER_MONTH

DEBT_KEY = ["usage_daily_id", "user_id", "usage_date"]


def adopt_debts(payable: pl.DataFrame, adopted: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns ``payable`` debts as they are after the ``adopted`` draws, and those debts that the draws settle, with
    the amounts."""
    joined = payable.join(adopted.select("id", "date", *LOTS), on=["id", "date"], how="left", maintain_order="left")
    is_settled = pl.col("free").is_not_null()
    paid = DRAWN.fill_null(0)
    # The ledger then has what the row shows: so the hash of the row as it is becomes the ledger's.
    ledger_hash = pl.when(is_settled).then("written_hash").otherwise("ledger_hash")
    after = joined.with_columns(
        pl.col("settled") + paid, pl.col("open") - paid, pl.col("drawn") + paid, ledger_hash=ledger_hash
    )
    return after.select(payable.columns), joined.filter(is_settled)


def select_refilled_debts(payable: pl.DataFrame, mismatched: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
    """Returns ``payable`` debts whose rows are written again as the ledger has them, with 0 drawn.

    These are the debts with unexplained credits (``mismatched``: schemas.MISMATCHED) that are not ``settled``.
    """
    if mismatched.is_empty():
        return with_nothing_paid(payable.clear())
    key = ["id", "date"]
    unexplained = mismatched.filter(IS_UNEXPLAINED)
    rows = payable.join(unexplained, on=key, how="semi").join(settled, on=key, how="anti")
    return with_nothing_paid(rows)


def with_nothing_paid(payable: pl.DataFrame) -> pl.DataFrame:
    """Returns ``payable`` debts of which nothing is paid: with columns free and purchased of 0."""
    return payable.with_columns(**dict.fromkeys(LOTS, int128(0)))


def make_debt_postings(settled: pl.DataFrame, columns: Collection[str]) -> pl.DataFrame:
    """Returns the postings for ``settled`` debts: corrections of their rows (credits.allocation.make_postings)."""
    return settled.with_columns(vanished=False, is_first_draw=False).select(columns)


def compute_debts_target(
    stored: pl.DataFrame,
    months: Collection[date],
    rows: pl.DataFrame,
    settled: pl.DataFrame,
    posted: pl.Series,
) -> pl.DataFrame:
    """Returns the target rows of rollup.debts of some users; ``stored``: their present rows.

    - Debts of other months than ``months`` stay, and ``settled`` is added to them.
    - Debts of ``months``, which the run closes or computes again, are the uncovered amounts of ``rows``. A write-off
      stays, up to the new amount.
    - A debt of ``months`` stays as it is if as much is owed as before and the draws of its row do not change
      (``posted``: ids of rows whose draws change).
    """
    debt_months = sorted(months)
    if stored.is_empty() and not debt_months:
        return stored
    month = pl.col("usage_date").dt.month_start().alias("month")
    taken = settled.group_by("user_id", usage_daily_id="id", usage_date="date").agg(DRAWN.sum().alias("taken"))
    continued = (
        stored.filter(~month.is_in(debt_months))
        .join(taken, on=DEBT_KEY, how="left")
        .with_columns(settled=pl.col("settled") + pl.col("taken").fill_null(0))
        .select(stored.columns)
    )
    if not debt_months:
        return continued
    owed = rows.filter(pl.col("month").is_in(debt_months)).select(
        usage_daily_id="id", user_id=pl.col("user_id").cast(pl.String), usage_date="date", amount="uncovered"
    )
    unchanged = (
        stored.join(owed.rename({"amount": "owed"}), on=DEBT_KEY, how="inner")
        .filter(pl.col("amount") - pl.col("settled") == pl.col("owed"))
        .filter(~pl.col("usage_daily_id").is_in(posted.implode()))
        .select(stored.columns)
    )
    row_month = ["usage_daily_id", "user_id", "month"]
    write_offs = stored.select("usage_daily_id", "user_id", month, "written_off", "reason")
    written_off = pl.min_horizontal(pl.col("written_off").fill_null(0), "amount")
    computed = (
        owed.filter(pl.col("amount") > 0)
        .join(unchanged, on=DEBT_KEY, how="anti")
        .with_columns(month)
        .join(write_offs, on=row_month, how="left")
        .with_columns(settled=int128(0), written_off=written_off)
        .with_columns(reason=pl.when(pl.col("written_off") > 0).then("reason"))
    )
    computed = computed.select(pl.col(name).cast(kind) for name, kind in stored.schema.items())
    return pl.concat([continued, unchanged, computed])


def sum_open_debts(debts: pl.DataFrame) -> pl.LazyFrame:
    """Returns user_id and open_debts: an amount as text, as detection puts it into credits_hash."""
    sums = (
        debts.lazy()
        .group_by("user_id")
        .agg((pl.col("amount") - pl.col("settled") - pl.col("written_off")).sum().alias("open"))
    )
    return sums.filter(pl.col("open") > 0).select("user_id", open_debts=pl.col("open").cast(pl.String))


def settle_days(
    closed_days: pl.DataFrame, settled: pl.DataFrame, adopted: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns target and stored rows of user_daily of debts that credit (``settled``) or adopted draws settle.

    ``closed_days``: the stored rows.
    """
    if settled.is_empty() and adopted.is_empty():
        return closed_days.clear(), closed_days.clear()
    sums = pl.concat([settled, adopted]).group_by(USER_DAY).agg(DRAWN.sum().alias("taken"))
    changed = closed_days.join(sums, on=USER_DAY, nulls_equal=True)
    target = changed.with_columns(pl.col("credits_deducted") + pl.col("taken"))
    return target.select(closed_days.columns), changed.select(closed_days.columns)


def settle_months(
    closed_months: pl.DataFrame, settled: pl.DataFrame, adopted: pl.DataFrame, hash_changes: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns target and stored rows of user_monthly of settled debts.

    - ``closed_months``: the stored rows;
    - ``settled``: debts that credit settles; ``adopted``: debts that adopted draws settle, whose rows are not written
      because they show the right amount already;
    - ``hash_changes``: how written_hash changes when the rows of ``settled`` are written, by user and month.
    """
    if settled.is_empty() and adopted.is_empty():
        return closed_months.clear(), closed_months.clear()
    by_adoption = adopted.select(*USER_MONTH, *LOTS, hash=pl.col("ledger_hash").xor("written_hash"))
    by_credit = settled.select(*USER_MONTH, *LOTS, hash=pl.lit(0, pl.Int64))
    sums = (
        pl.concat([by_credit, by_adoption]).group_by(USER_MONTH).agg(pl.col(*LOTS).sum(), pl.col("hash").bitwise_xor())
    )
    changed = closed_months.join(sums, on=USER_MONTH).join(hash_changes, on=USER_MONTH, how="left")
    target = changed.with_columns(
        pl.col("credits_free") + pl.col("free"),
        pl.col("credits_purchased") + pl.col("purchased"),
        pl.col("credits_deducted") + DRAWN,
        pl.col("uncovered") - DRAWN,
        pl.col("written_hash").xor(pl.col("_hash_change").fill_null(0)).xor("hash"),
    )
    return target.select(closed_months.columns), changed.select(closed_months.columns)

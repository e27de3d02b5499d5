"""Debts: what prepaid users owe for a month that closes (rollup.debts), and what later credit settles of it.

Closing a month freezes its cost, not its debt: nothing of a closed month is rated again. Settling a debt changes the
draws of its row, and the draws and the uncovered amount in user_daily and user_monthly.
"""

from collections.abc import Collection

import polars as pl

from jobs.domain.fixed_point_columns import int128
from jobs.domain.schemas import CODED
from jobs.pipeline import foreign_draws
from jobs.pipeline.batch_input import BatchInput
from jobs.postgres.run_scope import RunScope
from jobs.rollups.causes import NO_CAUSES, SUMS

DEBT = ["usage_daily_id", "user_id", "usage_date"]
USER_DAY = ["date", "user_id", "cluster_id"]
USER_MONTH = ["month", "user_id"]
TAKEN = pl.col("free") + pl.col("purchased")
PAID = {"free": pl.Int128, "purchased": pl.Int128}
"""The columns that are added to a debt (batch_inputs.PAYABLE): what is drawn on it now."""


def adopt_debts(payable: pl.DataFrame, adopted: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns ``payable`` debts as they are after the ``adopted`` draws, and those that these settle (with PAID)."""
    joined = payable.join(adopted.select("id", "date", *PAID), on=["id", "date"], how="left", maintain_order="left")
    is_settled = pl.col("free").is_not_null()
    paid = TAKEN.fill_null(0)
    # The ledger then has what the row shows: so the hash of the row as it is becomes the ledger's.
    ledger_hash = pl.when(is_settled).then("written_hash").otherwise("ledger_hash")
    after = joined.with_columns(
        pl.col("settled") + paid, pl.col("open") - paid, pl.col("drawn") + paid, ledger_hash=ledger_hash
    )
    return after.select(payable.columns), joined.filter(is_settled)


def select_refilled_debts(payable: pl.DataFrame, mismatched: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
    """Returns ``payable`` debts whose rows are written again as the ledger has them, with 0 drawn (with PAID).

    These are the debts with unexplained credits (``mismatched``: batch_inputs.MISMATCHED) that are not ``settled``.
    """
    key = ["id", "date"]
    unexplained = mismatched.filter(foreign_draws.IS_UNEXPLAINED)
    rows = payable.join(unexplained, on=key, how="semi").join(settled, on=key, how="anti")
    return rows.with_columns(free=int128(0), purchased=int128(0))


def make_debt_postings(settled: pl.DataFrame, columns: Collection[str]) -> pl.DataFrame:
    """Returns the postings for ``settled`` debts: corrections of their rows (credits.ledger_entries)."""
    return settled.with_columns(vanished=False, fresh=False, first=False).select(columns)


def select_debt_rows_to_write(scope: RunScope, debts: pl.DataFrame) -> pl.DataFrame:
    """Returns the rows of usage_daily of settled or refilled ``debts`` (as draw_windows.select_rows_to_write does)."""
    if not scope.query.source.credits.writes_deducted:
        debts = debts.clear()
    nothing = pl.lit(None, pl.Int128)
    return debts.select(
        "id", CODED, "date", "month", "deducted",
        # written_hash of user_monthly covers the row as the ledger has it.
        written_hash="ledger_hash", recorded=nothing, target=nothing, credits=pl.col("drawn") + TAKEN,
    )  # fmt: skip


def compute_debts_target(
    scope: RunScope, read: BatchInput, rows: pl.DataFrame, settled: pl.DataFrame, posted: pl.Series
) -> pl.DataFrame:
    """Returns the target rows of rollup.debts of the users of ``read``.

    Of months that the run does not close or compute again, debts stay, and what is ``settled`` is added. Of the other
    months, debts are the uncovered amounts of ``rows``; a write-off stays, up to the new amount. A debt of these months
    stays if as much is owed as before and the draws of its row do not change (``posted``: ids of rows whose draws do).
    """
    stored, debt_months = read.debts, sorted(scope.window.debt_months)
    month = pl.col("usage_date").dt.month_start().alias("month")
    taken = settled.group_by("user_id", usage_daily_id="id", usage_date="date").agg(TAKEN.sum().alias("taken"))
    continued = (
        stored.filter(~month.is_in(debt_months))
        .join(taken, on=DEBT, how="left")
        .with_columns(settled=pl.col("settled") + pl.col("taken").fill_null(0))
        .select(stored.columns)
    )
    if not debt_months or scope.query.source.credits.account is None:
        return continued
    owed = rows.filter(pl.col("month").is_in(debt_months)).select(
        usage_daily_id="id", user_id=pl.col("user_id").cast(pl.String), usage_date="date", amount="uncovered"
    )
    unchanged = (
        stored.join(owed.rename({"amount": "owed"}), on=DEBT, how="inner")
        .filter(pl.col("amount") - pl.col("settled") == pl.col("owed"))
        .filter(~pl.col("usage_daily_id").is_in(posted.implode()))
        .select(stored.columns)
    )
    row_month = ["usage_daily_id", "user_id", "month"]
    write_offs = stored.select("usage_daily_id", "user_id", month, "written_off", "reason")
    written_off = pl.min_horizontal(pl.col("written_off").fill_null(0), "amount")
    computed = (
        owed.filter(pl.col("amount") > 0)
        .join(unchanged, on=DEBT, how="anti")
        .with_columns(month)
        .join(write_offs, on=row_month, how="left")
        .with_columns(settled=int128(0), written_off=written_off)
        .with_columns(reason=pl.when(pl.col("written_off") > 0).then("reason"))
    )
    computed = computed.select(pl.col(name).cast(kind) for name, kind in stored.schema.items())
    return pl.concat([continued, unchanged, computed])


def sum_open_debts(debts: pl.DataFrame) -> pl.DataFrame:
    """Returns user_id and debts: the open amount by user, as text, as detection puts it into credits_hash."""
    sums = debts.group_by("user_id").agg(
        (pl.col("amount") - pl.col("settled") - pl.col("written_off")).sum().alias("open")
    )
    return sums.filter(pl.col("open") > 0).select("user_id", debts=pl.col("open").cast(pl.String))


def settle_days(read: BatchInput, settled: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns target and stored rows of user_daily of ``settled`` debts."""
    sums = settled.group_by(USER_DAY).agg(TAKEN.sum().alias("taken"))
    stored = read.closed_days.join(sums, on=USER_DAY, how="semi", nulls_equal=True)
    changed = stored.join(sums, on=USER_DAY, how="left", nulls_equal=True)
    return changed.with_columns(pl.col("credits_deducted") + pl.col("taken")).select(stored.columns), stored


def settle_months(
    read: BatchInput, settled: pl.DataFrame, adopted: pl.DataFrame, written_hashes: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns target and stored rows of user_monthly of settled debts.

    - ``settled``: debts that credit settles; ``adopted``: debts that adopted draws settle, whose rows are not written
      because they show the right amount already;
    - ``written_hashes``: what writing the rows of ``settled`` changes in written_hash, by user and month.
    """
    by_adoption = adopted.select(*USER_MONTH, *PAID, hash=pl.col("ledger_hash").xor("written_hash"))
    by_credit = settled.select(*USER_MONTH, *PAID, hash=pl.lit(0, pl.Int64))
    sums = (
        pl.concat([by_credit, by_adoption]).group_by(USER_MONTH).agg(pl.col(*PAID).sum(), pl.col("hash").bitwise_xor())
    )
    stored = read.closed_months.join(sums, on=USER_MONTH, how="semi")
    changed = stored.join(sums, on=USER_MONTH, how="left").join(written_hashes, on=USER_MONTH, how="left")
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


def find_debt_causes(changed: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Returns the causes of change of user-months whose debts are settled (rollups.causes)."""
    before, after = (
        months.select(*USER_MONTH, **{f"{when}_{name}": column for name, column in SUMS.items()})
        for when, months in (("old", stored), ("new", changed))
    )
    return before.join(after, on=USER_MONTH).with_columns(cause=pl.lit("credit")).select(NO_CAUSES.columns)

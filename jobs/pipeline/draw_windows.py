"""Draw windows: which credit pays for which row of a batch, one window after another, and what must be posted."""

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from jobs.credits import allocation, ledger_entries
from jobs.domain.fixed_point_columns import ColumnBounds, int128
from jobs.domain.schemas import CODED, DRAWS
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    from jobs.pipeline.batch_input import BatchInput


class Allocated(NamedTuple):
    """The rated ``rows`` of a batch with their draws and how each is paid; ``postings``: what must be posted for them
    (credits.ledger_entries); ``settled_debts``: the payable debts that are settled, with what is drawn on each."""

    rows: pl.DataFrame
    postings: pl.DataFrame
    settled_debts: pl.DataFrame


def select_window_draws(draws: pl.DataFrame, rows: pl.DataFrame, scope: RunScope) -> pl.DataFrame:
    """Returns the draws that the run decides about (schemas.DRAWS).

    Draws on days after the last day of the run are left out: another program may have made them, and they stay until
    a run covers these days. Draws of a row that has moved to a covered day are included.
    """
    is_later = pl.col("date") > scope.window.last
    if not draws.select(is_later.any()).item():
        return draws
    covered = rows.select("id", pl.col("user_id").cast(pl.String))
    return pl.concat([draws.filter(~is_later), draws.filter(is_later).join(covered, on=["id", "user_id"], how="semi")])


def make_zero_draws(adopted: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns an imported draw of 0 for each of ``rows`` on which draws were adopted in another month (schemas.DRAWS).

    It makes the row prepaid in this month as well. ``adopted``: id and user_id of such rows.
    """
    concerned = rows.select("id", pl.col("user_id").cast(pl.String), "date").join(
        adopted, on=["id", "user_id"], how="semi"
    )
    zeros = concerned.with_columns(imported=pl.lit(value=True), free=0, purchased=0)
    return zeros.select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def allocate(scope: RunScope, read: "BatchInput", accounts: pl.DataFrame) -> Allocated:
    """Returns which credit pays for the rows and debts of ``read``; ``accounts``: schemas.ACCOUNTS."""
    settled = read.payable.clear().with_columns(free=int128(0), purchased=int128(0))
    paid, postings = [], []
    for months in scope.window.draws:
        rows, draws = read.rated, read.draws
        if len(scope.window.draws) > 1:
            in_window = pl.col("date").dt.month_start().is_in(months)
            rows, draws = rows.filter(in_window), draws.filter(in_window)
        if months == scope.window.open and not read.payable.is_empty():
            # Debts are paid before the rows of open months, even before rows that have draws already.
            lots = allocation.window_lots(
                rows.lazy(), read.billing_modes.lazy(), accounts.lazy(), draws.lazy(), scope.credit_rules
            )
            settled = allocation.settle_debts(read.payable, lots, scope.credit_rules.unit)
            accounts = apply_postings(scope, accounts, settled)
        window_rows, window_postings = _allocate_window(scope, read, rows, accounts, draws)
        accounts = apply_postings(scope, accounts, window_postings)
        paid.append(window_rows)
        postings.append(window_postings)
    return Allocated(pl.concat(paid), pl.concat(postings), settled)


def _allocate_window(
    scope: RunScope, read: "BatchInput", rows: pl.DataFrame, accounts: pl.DataFrame, draws: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns the rows of one draw window with their draws, and what must be posted for them.

    The credit of a window is what the accounts have left without the window's own draws (invariant 3).
    """
    paid = allocation.allocate_credits(
        rows.lazy(),
        read.billing_modes.lazy(),
        accounts.lazy(),
        draws.lazy(),
        scope.credit_rules,
        ColumnBounds.of(rows, ["total_cost"]),
        closed_month_draws=_lazy_or_none(read.closed_month_draws),
    ).collect()
    return paid, ledger_entries.make_postings(paid.lazy(), accounts.lazy(), draws.lazy()).collect()


def apply_ledger(scope: RunScope, read: "BatchInput") -> pl.DataFrame:
    """Returns the rated rows of ``read`` with the draws that the ledger has, whether these are right or not."""
    return allocation.apply_ledger(
        read.rated.lazy(),
        read.billing_modes.lazy(),
        read.draws.lazy(),
        scope.credit_rules,
        _lazy_or_none(read.closed_month_draws),
    ).collect()


def _lazy_or_none(draws: pl.DataFrame) -> pl.LazyFrame | None:
    return None if draws.is_empty() else draws.lazy()


def apply_postings(scope: RunScope, accounts: pl.DataFrame, postings: pl.DataFrame) -> pl.DataFrame:
    """Returns the accounts as they are after ``postings`` (schemas.ACCOUNTS)."""
    if postings.is_empty():
        return accounts
    sums = postings.group_by("user_id").agg(
        posted_free=pl.col("free").sum(), posted_purchased=pl.col("purchased").sum()
    )
    free, purchased = pl.col("posted_free").fill_null(0), pl.col("posted_purchased").fill_null(0)
    splits = scope.query.source.credits.counts_free_apart
    return (
        accounts.join(sums, on="user_id", how="left")
        .with_columns(
            free_used=pl.col("free_used") + free if splits else pl.col("free_used"),
            used=pl.col("used") + purchased + (0 if splits else free),
        )
        .select(accounts.columns)
    )


def select_rows_to_write(
    scope: RunScope, rows: pl.DataFrame, rejected: pl.DataFrame, postings: pl.DataFrame, mismatched: pl.DataFrame
) -> pl.DataFrame:
    """Returns the rows of usage_daily that are to be written.

    Columns: id, user_id, date, month; written_hash, recorded, deducted (as read); target and credits (the new
    total_cost and credits_deducted, null where the column is not written).

    - ``rows``: with their draws; ``rejected``: rows that cannot be priced, on which nothing is drawn;
    - ``mismatched``: batch_inputs.MISMATCHED.
    """
    # Joins copy every column, so the others are left out.
    columns = ["id", "user_id", "date", "month", "written_hash", "recorded", "deducted"]
    priced = rows.select(*columns, "target")
    month = pl.col("date").dt.month_start().alias("month")
    others = rejected.with_columns(CODED, month).select(*columns, target=pl.lit(None, pl.Int128))
    every = pl.concat([priced, others]).with_columns(pl.col("recorded", "deducted").cast(pl.Int128))
    writes_cost = pl.col("target").is_not_null() & pl.col("recorded").ne_missing(pl.col("target"))
    target = pl.when(writes_cost).then("target")
    if not scope.query.source.credits.writes_deducted:
        return every.filter(writes_cost).with_columns(target=target, credits=pl.lit(None, pl.Int128))
    posted = postings.group_by("id", CODED).agg((pl.col("free") + pl.col("purchased")).sum().alias("posted"))
    ledger = mismatched.select("id", ledger="drawn")
    # credits_deducted is the sum of the draws of all months: what the ledger has (as read, unless the row mismatches)
    # and what is posted now. A posting counts even where the column has that amount already, from a closed month.
    credits = pl.coalesce("ledger", "deducted") + pl.col("posted").fill_null(0)
    writes_credits = credits.ne_missing(pl.col("deducted"))
    return (
        every.lazy()
        .join(posted.lazy(), on=["id", "user_id"], how="left")
        .join(ledger.lazy(), on="id", how="left")
        .with_columns(target=target, credits=pl.when(writes_credits).then(credits))
        .filter(writes_cost | pl.col("credits").is_not_null())
        .drop("posted", "ledger")
        .collect()
    )

"""Which credit pays for which row of a batch, one draw window after another, and what must be posted for it."""

from typing import TYPE_CHECKING

import polars as pl

from jobs.credits import allocation, ledger_entries
from jobs.credits.lots import LOTS
from jobs.domain.fixed_point_columns import ColumnBounds, int128
from jobs.domain.schemas import CODED, DRAWS
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    from jobs.pipeline.batch_input import BatchInput


def window_draws(draws: pl.DataFrame, rows: pl.DataFrame, scope: RunScope) -> pl.DataFrame:
    """The draws that the run decides about. On days that it does not cover another program may have drawn, which stays
    as it is until they are covered, unless the row has come to a day that is."""
    later = pl.col("date") > scope.window.last
    if not draws.select(later.any()).item():
        return draws
    here = rows.select("id", pl.col("user_id").cast(pl.String))
    return pl.concat([draws.filter(~later), draws.filter(later).join(here, on=["id", "user_id"], how="semi")])


def draws_of_nothing(adopted: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The ``rows`` on which draws were adopted in another month (``adopted``: id, user_id), as imported draws of
    nothing (schemas.DRAWS): they are prepaid still."""
    here = rows.select("id", pl.col("user_id").cast(pl.String), "date").join(adopted, on=["id", "user_id"], how="semi")
    marked = here.with_columns(imported=pl.lit(value=True), free=0, purchased=0)
    return marked.select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def allocate(
    scope: RunScope, read: "BatchInput", accounts: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The rated rows of ``read`` with their draws and how each is paid; what must be posted for it
    (credits.ledger_entries); and its payable debts that are settled, with what is drawn on each. In: ``accounts``
    (schemas.ACCOUNTS)."""
    rows, modes, draws, payable = read.rated, read.modes, read.draws, read.payable
    parts, settled = [], payable.clear().with_columns(free=int128(0), purchased=int128(0))
    for months in scope.window.draws:
        here = pl.col("date").dt.month_start().is_in(months)
        alone = len(scope.window.draws) == 1
        mine, theirs = (rows, draws) if alone else (rows.filter(here), draws.filter(here))
        if months == scope.window.open and not payable.is_empty():
            # Debts come before open months, and before what these have drawn already.
            lots = allocation.lots_of_window(
                mine.lazy(), modes.lazy(), accounts.lazy(), theirs.lazy(), scope.credit_rules
            )
            settled = allocation.settle_debts(payable, lots, scope.credit_rules.unit)
            accounts = apply_postings(scope, accounts, settled)
        part = _window(scope, mine, modes, accounts, theirs, read.elsewhere)
        accounts = apply_postings(scope, accounts, part[1])
        parts.append(part)
    return pl.concat([paid for paid, _ in parts]), pl.concat([due for _, due in parts]), settled


def _window(
    scope: RunScope,
    rows: pl.DataFrame,
    modes: pl.DataFrame,
    accounts: pl.DataFrame,
    draws: pl.DataFrame,
    elsewhere: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One draw window; its credit is what the accounts have left without its own draws (invariant 3)."""
    known = ColumnBounds.of(rows, ["total_cost"])
    paid = allocation.allocate_credits(
        rows.lazy(),
        modes.lazy(),
        accounts.lazy(),
        draws.lazy(),
        scope.credit_rules,
        known,
        elsewhere=_lazy(elsewhere),
    ).collect()
    return paid, ledger_entries.make_postings(paid.lazy(), accounts.lazy(), draws.lazy()).collect()


def apply_window_ledger(
    scope: RunScope, rows: pl.DataFrame, modes: pl.DataFrame, draws: pl.DataFrame, elsewhere: pl.DataFrame
) -> pl.DataFrame:
    """``rows`` as the ledger pays them, whatever it should say."""
    rules = scope.credit_rules
    return allocation.apply_ledger(rows.lazy(), modes.lazy(), draws.lazy(), rules, _lazy(elsewhere)).collect()


def _lazy(elsewhere: pl.DataFrame) -> pl.LazyFrame | None:
    return None if elsewhere.is_empty() else elsewhere.lazy()


def apply_postings(scope: RunScope, accounts: pl.DataFrame, postings_: pl.DataFrame) -> pl.DataFrame:
    """The accounts once ``postings_`` are posted."""
    if postings_.is_empty():
        return accounts
    sums = postings_.group_by("user_id").agg(pl.col(lot).sum().alias(f"more_{lot}") for lot in LOTS)
    free, purchased = (pl.col(f"more_{lot}").fill_null(0) for lot in ("free", "purchased"))
    splits = scope.query.read.credits.splits
    return (
        accounts.join(sums, on="user_id", how="left")
        .with_columns(
            free_used=pl.col("free_used") + free if splits else pl.col("free_used"),
            used=pl.col("used") + purchased + (0 if splits else free),
        )
        .select(accounts.columns)
    )


def rows_to_write(
    scope: RunScope, rows: pl.DataFrame, unpriced: pl.DataFrame, postings_: pl.DataFrame, mismatched: pl.DataFrame
) -> pl.DataFrame:
    """The rows of usage_daily that are to be written: id, user_id, date, month, written_hash (as read), recorded,
    deducted (as they are), target and credits (as they shall be; null: left as it is).

    In: ``rows`` with their draws, and rows that cannot be priced (``unpriced``), which are not drawn at all.
    """
    # Joins copy every column that they carry along.
    facts = ["id", "user_id", "date", "month", "written_hash", "recorded", "deducted"]
    priced = rows.select(*facts, "target")
    month = pl.col("date").dt.month_start().alias("month")
    others = unpriced.with_columns(CODED, month).select(*facts, target=pl.lit(None, pl.Int128))
    every = pl.concat([priced, others]).with_columns(pl.col("recorded", "deducted").cast(pl.Int128))
    costs = pl.col("target").is_not_null() & pl.col("recorded").ne_missing(pl.col("target"))
    target = pl.when(costs).then("target")
    if not scope.query.read.credits.shown:
        return every.filter(costs).with_columns(target=target, credits=pl.lit(None, pl.Int128))
    sums = postings_.group_by("id", CODED).agg((pl.col("free") + pl.col("purchased")).sum().alias("posted"))
    known = mismatched.select("id", known="drawn")
    # What is posted now counts even where the column shows that amount already, from draws in a closed month. The
    # column shows what all months say: known where that is not what was read, and what is posted now.
    shall = pl.coalesce("known", "deducted") + pl.col("posted").fill_null(0)
    changes = shall.ne_missing(pl.col("deducted"))
    return (
        every.lazy()
        .join(sums.lazy(), on=["id", "user_id"], how="left")
        .join(known.lazy(), on="id", how="left")
        .with_columns(target=target, credits=pl.when(changes).then(shall))
        .filter(costs | pl.col("credits").is_not_null())
        .drop("posted", "known")
        .collect()
    )

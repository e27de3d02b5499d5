"""Draw windows: which credit pays for which row and debt, window after window, and what to post. Pure."""

from dataclasses import dataclass

import polars as pl

from jobs.credits import allocation, ledger_entries
from jobs.credits.debts import with_nothing_paid
from jobs.domain.billing_periods import Window
from jobs.domain.fixed_point_columns import ColumnBounds
from jobs.domain.rules import CreditRules
from jobs.domain.schemas import DRAWS


@dataclass(frozen=True, slots=True)
class CreditInput:
    """What decides, beside the accounts, which credit pays for which row of some users.

    - ``rows``: rated, in row order; ``billing_modes``: schemas.MODES;
    - ``draws``: what the ledger has of the window (schemas.DRAWS);
    - ``closed_month_draws``: rows that moved here from a closed month, and what is drawn on them there
      (``elsewhere``);
    - ``payable``: the open debts (schemas.PAYABLE).
    """

    rows: pl.DataFrame
    billing_modes: pl.DataFrame
    draws: pl.DataFrame
    closed_month_draws: pl.DataFrame
    payable: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Allocated:
    """The ``rows`` with their draws and how each is paid; ``postings``: what must be posted for them
    (credits.ledger_entries); ``settled_debts``: the payable debts that are settled, with what is drawn on each;
    ``accounts``: as they are after both (schemas.ACCOUNTS)."""

    rows: pl.DataFrame
    postings: pl.DataFrame
    settled_debts: pl.DataFrame
    accounts: pl.DataFrame


def allocate(inputs: CreditInput, accounts: pl.DataFrame, window: Window, rules: CreditRules) -> Allocated:
    """Returns which credit pays for the rows and debts of ``inputs``; ``accounts``: schemas.ACCOUNTS."""
    settled = with_nothing_paid(inputs.payable.clear())
    allocated, postings = [], []
    for months in window.draw_windows:
        rows, draws = inputs.rows, inputs.draws
        if len(window.draw_windows) > 1:
            in_window = pl.col("date").dt.month_start().is_in(months)
            rows, draws = rows.filter(in_window), draws.filter(in_window)
        if months == window.open and not inputs.payable.is_empty():
            # Debts are paid before the rows of open months, even before rows that have draws already.
            lots = allocation.window_lots(
                rows.lazy(), inputs.billing_modes.lazy(), accounts.lazy(), draws.lazy(), rules
            )
            settled = allocation.settle_debts(inputs.payable, lots, rules.unit)
            accounts = apply_postings(accounts, settled, rules)
        window_rows = allocation.allocate_credits(
            rows.lazy(),
            inputs.billing_modes.lazy(),
            accounts.lazy(),
            draws.lazy(),
            rules,
            ColumnBounds.of(rows, ["total_cost"]),
            closed_month_draws=_lazy_or_none(inputs.closed_month_draws),
        ).collect()
        window_postings = ledger_entries.make_postings(window_rows.lazy(), accounts.lazy(), draws.lazy()).collect()
        accounts = apply_postings(accounts, window_postings, rules)
        allocated.append(window_rows)
        postings.append(window_postings)
    return Allocated(pl.concat(allocated), pl.concat(postings), settled, accounts)


def apply_ledger(inputs: CreditInput, rules: CreditRules) -> pl.DataFrame:
    """Returns the rows of ``inputs`` with the draws that the ledger has, whether these are right or not."""
    return allocation.apply_ledger(
        inputs.rows.lazy(),
        inputs.billing_modes.lazy(),
        inputs.draws.lazy(),
        rules,
        _lazy_or_none(inputs.closed_month_draws),
    ).collect()


def _lazy_or_none(draws: pl.DataFrame) -> pl.LazyFrame | None:
    return None if draws.is_empty() else draws.lazy()


def apply_postings(accounts: pl.DataFrame, postings: pl.DataFrame, rules: CreditRules) -> pl.DataFrame:
    """Returns the accounts as they are after ``postings`` (schemas.ACCOUNTS)."""
    if postings.is_empty():
        return accounts
    sums = (
        postings.lazy()
        .group_by("user_id")
        .agg(posted_free=pl.col("free").sum(), posted_purchased=pl.col("purchased").sum())
    )
    free, purchased = pl.col("posted_free").fill_null(0), pl.col("posted_purchased").fill_null(0)
    apart = rules.counts_free_apart
    return (
        accounts.lazy()
        .join(sums, on="user_id", how="left")
        .with_columns(
            free_used=pl.col("free_used") + free if apart else pl.col("free_used"),
            used=pl.col("used") + purchased + (0 if apart else free),
        )
        .select(accounts.columns)
        .collect()
    )


def select_window_draws(draws: pl.DataFrame, rows: pl.DataFrame, window: Window) -> pl.DataFrame:
    """Returns the draws that the run decides about (schemas.DRAWS).

    Draws on days after the last day of the run are left out: another program may have made them, and they stay until
    a run covers these days. Draws of a row that has moved to a covered day are included.
    """
    is_later = pl.col("date") > window.last
    if not draws.select(is_later.any()).item():
        return draws
    present = rows.select("id", pl.col("user_id").cast(pl.String))
    return pl.concat([draws.filter(~is_later), draws.filter(is_later).join(present, on=["id", "user_id"], how="semi")])


def make_zero_draws(adopted: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns an imported draw of 0 for each of ``rows`` on which draws were adopted in another month (schemas.DRAWS).

    It makes the row prepaid in this month as well. ``adopted``: id and user_id of such rows.
    """
    if adopted.is_empty():
        return pl.DataFrame(schema=DRAWS)
    concerned = rows.select("id", pl.col("user_id").cast(pl.String), "date").join(
        adopted, on=["id", "user_id"], how="semi"
    )
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
        .group_by("id", "user_id")
        .agg(pl.col("date").max(), pl.col("imported").any(), pl.col("free").sum(), pl.col("purchased").sum())
    )
    drawn = sums.filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
    present = usage.lazy().select("id", pl.col("user_id").cast(pl.String))
    vanished = drawn.join(present, on=["id", "user_id"], how="anti")
    return vanished.select(pl.col(name).cast(kind) for name, kind in DRAWS.items()).collect()

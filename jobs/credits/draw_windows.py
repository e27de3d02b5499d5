"""Draw windows: which credit pays for which row and debt, window after window, and what to post. Pure."""

from dataclasses import dataclass, replace

import polars as pl

from jobs.credits.allocation import CreditInput, allocate_credits, settle_debts, window_lots
from jobs.credits.debts import with_nothing_paid
from jobs.credits.ledger_entries import make_postings
from jobs.domain.billing_periods import Window
from jobs.domain.rules import CreditRules


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
        of_window = inputs
        if len(window.draw_windows) > 1:
            in_window = pl.col("date").dt.month_start().is_in(months)
            of_window = replace(inputs, rows=inputs.rows.filter(in_window), draws=inputs.draws.filter(in_window))
        if months == window.open and not inputs.payable.is_empty():
            # Debts are paid before the rows of open months, even before rows that have draws already.
            settled = settle_debts(inputs.payable, window_lots(of_window, accounts, rules), rules.unit)
            accounts = _apply_postings(accounts, settled, rules)
        allocated.append(allocate_credits(of_window, accounts, rules))
        postings.append(make_postings(allocated[-1].lazy(), accounts.lazy(), of_window.draws.lazy()).collect())
        accounts = _apply_postings(accounts, postings[-1], rules)
    return Allocated(pl.concat(allocated), pl.concat(postings), settled, accounts)


def _apply_postings(accounts: pl.DataFrame, postings: pl.DataFrame, rules: CreditRules) -> pl.DataFrame:
    """Returns the accounts as they are after ``postings`` (schemas.ACCOUNTS)."""
    if postings.is_empty():
        return accounts
    posted = postings.group_by("user_id").agg(pl.col("free", "purchased").sum())
    free, purchased = pl.col("free").fill_null(0), pl.col("purchased").fill_null(0)
    used = {"free_used": free, "total_used": purchased} if rules.counts_free_apart else {"total_used": free + purchased}
    return (
        accounts.join(posted, on="user_id", how="left")
        .with_columns(pl.col(name) + more for name, more in used.items())
        .select(accounts.columns)
    )

"""Lots of credit, allocated for all users of a batch at once (invariant 3).

Each user has *lots* of credit that are used up in order (domain.rules.LOTS: free, then purchased) and rows that demand
some, in row order. One pass per lot allocates the k-th lot of every user together, without a loop over rows. The lot
pays the part of a row between the running demand before it and after it, both capped at the lot's balance. The rest of
the row is demanded of the next lot. An example, one user with 0.05 free and 0.06 purchased, and rows of 0.04 each::

    row   demand   running   free lot: cap at 0.05   rest   running   purchased lot: cap at 0.06   uncovered
     1     0.04      0.04     0.04 - 0.00 = 0.04     0.00     0.00     0.00 - 0.00 = 0.00            0.00
     2     0.04      0.08     0.05 - 0.04 = 0.01     0.03     0.03     0.03 - 0.00 = 0.03            0.00
     3     0.04      0.12     0.05 - 0.05 = 0.00     0.04     0.07     0.06 - 0.03 = 0.03            0.01

So the oldest rows are paid first, the last row that a lot reaches gets a part, and no user draws more than the
balance. A grant with an expiry or a priority is one more lot, with the rows that may not use it demanding 0 of it.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from jobs.domain.fixed_point_columns import WIDE, cumulate, deltas, int128
from jobs.domain.rules import LOTS, CreditRules
from jobs.domain.schemas import USER_AS_CATEGORY

CREDITS = {"free": pl.col("free_granted"), "purchased": pl.col("total_purchased")}
"""By lot the credits of an account (schemas.ACCOUNTS), used or not."""


def used_credits(rules: CreditRules, left_out: Mapping[str, pl.Expr]) -> dict[str, pl.Expr]:
    """Returns the used credits of an account by lot, less the draws ``left_out`` of each lot. Where one counter counts
    both, the first lot is used first."""
    if rules.counts_free_apart:
        return {
            "free": pl.col("free_used") - left_out["free"],
            "purchased": pl.col("total_used") - left_out["purchased"],
        }
    (first, second), total = LOTS, pl.col("total_used") - left_out["free"] - left_out["purchased"]
    of_first = pl.min_horizontal(CREDITS[first], total)
    return {first: of_first, second: total - of_first}


def lot_balances(accounts: pl.LazyFrame, draws: pl.LazyFrame, fixed: pl.LazyFrame, rules: CreditRules) -> pl.LazyFrame:
    """Returns by user the balance of each lot for a draw window, ``<lot>_left`` (units of 10^-10).

    The balance is that of the account as if the window had drawn nothing but its fixed draws, in whole units of the
    ledger, at least 0 (invariant 3).

    - ``accounts``: schemas.ACCOUNTS;
    - ``draws``: those that the ledger has in the window (schemas.DRAWS);
    - ``fixed``: by user ``fixed_<lot>``, those of these draws that stay whatever is allocated.
    """
    by_user = draws.group_by("user_id").agg(pl.col(lot).sum() for lot in LOTS)
    not_fixed = {lot: pl.col(lot).fill_null(0) - pl.col(f"fixed_{lot}").fill_null(0) for lot in LOTS}
    used = used_credits(rules, not_fixed)
    free, purchased = (CREDITS[lot] - used[lot] for lot in ("free", "purchased"))
    nothing, unit = int128(0), int128(rules.unit)
    # A deficit of one lot is taken off the other.
    balances = {
        "free": free + purchased.clip(upper_bound=nothing),
        "purchased": purchased + free.clip(upper_bound=nothing),
    }
    return (
        accounts.join(by_user, on="user_id", how="left")
        .join(fixed.with_columns(pl.col("user_id").cast(pl.String)), on="user_id", how="left")
        .select(
            USER_AS_CATEGORY,
            *(
                (balance // unit * unit).clip(lower_bound=nothing).alias(f"{lot}_left")
                for lot, balance in balances.items()
            ),
        )
    )


def allocate_lots(rows: pl.LazyFrame, lots: Sequence[str]) -> pl.LazyFrame:
    """Adds ``<lot>_drawn`` for each of ``lots``: what the lot pays of each row's demand.

    Adds two running totals as well: ``_paid`` of what the last lot pays, ``_rest`` of what no lot pays.

    - ``rows``: with ``_demand`` and ``<lot>_left`` (null: nothing), all at least 0; the rows of one user are adjacent,
      the oldest first;
    - ``lots``: in the order in which they are used up.
    """
    starts = pl.col("_new_user")
    is_new_user = pl.col("user_id").ne_missing(pl.col("user_id").shift())
    rows = rows.with_columns(_new_user=is_new_user).with_columns(_rest=cumulate(pl.col("_demand"), starts))
    for lot in lots:
        # Running totals: paid by this lot, and still unpaid when this lot's turn comes.
        paid, rest = pl.col("_paid"), pl.col("_rest")
        left = pl.col(f"{lot}_left").fill_null(0).cast(WIDE)
        rows = rows.with_columns(_paid=pl.min_horizontal(rest, left)).with_columns(
            deltas(paid, starts).alias(f"{lot}_drawn"), _rest=rest - paid
        )
    return rows

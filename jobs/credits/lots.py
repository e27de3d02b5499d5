"""Lots of credit, settled for all users of a batch at once (invariant 3).

Each user has *lots* of credit that are used up in order (today two: free, then purchased) and rows that demand some,
in row order. One pass per lot settles the k-th lot of every user together, without a loop over rows: of a row, the lot
pays what lies between the running demand before it and after it, both cut at what the lot holds; what it leaves
open is demanded of the next lot. An example, one user with 0.05 free and 0.06 purchased, and rows of 0.04 each::

    row   demand   running   free lot: cut at 0.05   left   running   purchased lot: cut at 0.06   uncovered
     1     0.04      0.04     0.04 - 0.00 = 0.04     0.00     0.00     0.00 - 0.00 = 0.00            0.00
     2     0.04      0.08     0.05 - 0.04 = 0.01     0.03     0.03     0.03 - 0.00 = 0.03            0.00
     3     0.04      0.12     0.05 - 0.05 = 0.00     0.04     0.07     0.06 - 0.03 = 0.03            0.01

So the oldest rows are settled first, the last one that is reached gets a part, and nobody draws more than the lots
hold. A grant with an expiry or a priority is one more lot, with the rows that may not use it demanding 0 of it.
"""

from collections.abc import Sequence
from functools import reduce

import polars as pl

from jobs.domain.fixed_point_columns import UNKNOWN, UNMEASURED, WIDE, BoundedInt, ColumnBounds, int128
from jobs.domain.rules import CreditRules
from jobs.domain.schemas import CODED

LOTS = ("free", "purchased")
"""In the order in which they are used up."""


def lot_balances(accounts: pl.LazyFrame, booked: pl.LazyFrame, stays: pl.LazyFrame, rules: CreditRules) -> pl.LazyFrame:
    """What each account's lots hold for this window (DESIGN section 4, law 3): ``<lot>_left`` by user. ``stays``: the
    draws of each user that stand whatever is decided, ``kept_<lot>``."""
    own = booked.group_by("user_id").agg(pl.col(lot).sum() for lot in LOTS)
    of_window = {lot: pl.col(lot).fill_null(0) - pl.col(f"kept_{lot}").fill_null(0) for lot in LOTS}
    if rules.splits:
        free_used, used = pl.col("free_used") - of_window["free"], pl.col("used") - of_window["purchased"]
    else:
        total = pl.col("used") - of_window["free"] - of_window["purchased"]
        free_used = pl.min_horizontal("granted", total)
        used = total - free_used
    free, bought = pl.col("granted") - free_used, pl.col("bought") - used
    none, unit = int128(0), int128(rules.unit)
    left = {
        "free": free + bought.clip(upper_bound=none),
        "purchased": bought + free.clip(upper_bound=none),
    }
    return (
        accounts.join(own, on="user_id", how="left")
        .join(stays.with_columns(pl.col("user_id").cast(pl.String)), on="user_id", how="left")
        .select(
            CODED,
            *((amount // unit * unit).clip(lower_bound=none).alias(f"{lot}_left") for lot, amount in left.items()),
        )
    )


def allocate_lots(rows: pl.LazyFrame, lots: Sequence[str], bounds: ColumnBounds = UNMEASURED) -> pl.LazyFrame:
    """Adds ``<lot>_drawn`` for each of ``lots``: what it pays of each row's ``demand``, given ``<lot>_left`` (null:
    nothing), all at least 0; and ``open``, the running total of what no lot pays. Rows of a user lie together, oldest
    first.
    """
    demand = bounds.column("demand")
    running = demand.cumulative(pl.col("new_user"), bounds.rows)
    starts = pl.col("user_id").ne_missing(pl.col("user_id").shift())
    rows = rows.with_columns(new_user=starts).with_columns(open=running.wide)
    return reduce(lambda found, lot: _one_lot(found, lot, demand.most, running.most, bounds.rows), lots, rows)


def _one_lot(rows: pl.LazyFrame, lot: str, most_of_row: int, most: int, count: int) -> pl.LazyFrame:
    name = f"{lot}_drawn"
    known = ColumnBounds(count, {"open": (0, most), name: (0, most)})
    opened, reached = known.column("open"), known.column(name)
    # More than all rows demand is as good as that much.
    left = BoundedInt(pl.col(f"{lot}_left").fill_null(0).cast(WIDE), 0, UNKNOWN).at_most(most)
    return rows.with_columns(opened.at_most(left).wide.alias(name)).with_columns(
        reached.deltas(pl.col("new_user")).with_bounds(0, most_of_row).wide.alias(name), open=(opened - reached).wide
    )

"""Prepaid draws for all users of a chunk at once, and what the ledger lacks to show them (DESIGN section 4, law 3).

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

Nothing here looks at what was drawn before, except to know how much credit there is without this window's own draws:
the outcome is the same however often, late or out of order it is computed. ``postings`` are the difference.
"""

from collections.abc import Sequence
from functools import reduce

import polars as pl

from jobs.compute.billing import EARLY, PREPAID, CreditRules, classed, part
from jobs.compute.exact import UNKNOWN, UNMEASURED, WIDE, Bounds, Whole, whole
from jobs.model.scale import PLACES

LOTS = ("free", "purchased")
"""In the order in which they are used up."""
KEY = ["user_id", "id", "month"]
_OF_ROW = ["user_id", "id"]
DECIDING = [*_OF_ROW, "date", "new_month", "total_cost", "reported"]
"""All of a row that draws depend on: joins copy every column that they carry along."""


def credited(
    rows: pl.LazyFrame,
    modes: pl.LazyFrame,
    accounts: pl.LazyFrame,
    booked: pl.LazyFrame,
    rules: CreditRules,
    bounds: Bounds = UNMEASURED,
) -> pl.LazyFrame:
    """Adds to priced rows in row order: class, parts, ``free`` and ``purchased`` (the draws that the ledger shall
    hold), ``uncovered``, ``amount_due`` and ``amount_reported``, in units of 10^-10.

    In: ``accounts`` (frames.ACCOUNTS) and ``booked`` (frames.DRAWS), of the months of one draw window.
    """
    held = classed(_with_booked(rows.select(DECIDING), booked), modes, rules, bounds)
    kept = _kept(held.join(_known(accounts), on="user_id", how="left", maintain_order="left"))
    stays = kept.group_by("user_id").agg(pl.col(f"kept_{lot}").sum() for lot in LOTS)
    return _drawn(kept, available(accounts, booked, stays, rules), rules, rows, bounds)


def credited_anew(
    rows: pl.LazyFrame,
    modes: pl.LazyFrame,
    accounts: pl.LazyFrame,
    own: pl.LazyFrame,
    rules: CreditRules,
    bounds: Bounds = UNMEASURED,
) -> pl.LazyFrame:
    """``credited`` where the ledger says nothing of any row: no row was reported, none imported; ``own``: all draws of
    the window, of which only the sum of each user counts."""
    held = classed(rows.select(DECIDING).with_columns(imported=pl.lit(value=False)), modes, rules, bounds)
    kept = held.with_columns(whole(0).alias(f"kept_{lot}") for lot in LOTS)
    stays = pl.LazyFrame(schema={"user_id": pl.Categorical, **{f"kept_{lot}": WIDE for lot in LOTS}})
    lots = available(accounts, own, stays, rules).with_columns(has_account=pl.lit(value=True))
    return _drawn(kept, lots, rules, rows, bounds)


def _drawn(
    kept: pl.LazyFrame, lots: pl.LazyFrame, rules: CreditRules, rows: pl.LazyFrame, bounds: Bounds
) -> pl.LazyFrame:
    of_user = kept.select("user_id").join(lots, on="user_id", how="left", maintain_order="left").drop("user_id")
    demanding = pl.concat([kept, of_user], how="horizontal").with_columns(demand=_demand())
    most = part(PREPAID, rules.scale, bounds).most
    drawn = settled(demanding, LOTS, Bounds(bounds.rows, {"demand": (0, most)}))
    return _paid(drawn, [(pl.col(f"{lot}_drawn") + pl.col(f"kept_{lot}")).alias(lot) for lot in LOTS], rows)


def as_booked(rows: pl.LazyFrame, modes: pl.LazyFrame, booked: pl.LazyFrame, rules: CreditRules) -> pl.LazyFrame:
    """What ``credited`` adds, with the draws that stand in the ledger instead of those that it shall hold."""
    held = classed(_with_booked(rows.select(DECIDING), booked), modes, rules)
    return _paid(held, [pl.col(f"booked_{lot}").alias(lot) for lot in LOTS], rows)


def _paid(held: pl.LazyFrame, draws: list[pl.Expr], rows: pl.LazyFrame) -> pl.LazyFrame:
    """``rows``, beside each what ``held`` says of it: its draws, and what of its part is left: uncovered, due, or
    reported."""
    reported, taken, nothing = pl.col("reported"), pl.col("free") + pl.col("purchased"), whole(0)
    owed = (pl.col("part") + pl.col("due_part") - taken).clip(lower_bound=nothing)
    paid = held.with_columns(draws).select(
        "class",
        "part",
        "due_part",
        *LOTS,
        uncovered=pl.when(~reported).then((pl.col("part") - taken).clip(lower_bound=nothing)).otherwise(nothing),
        amount_due=pl.when(~reported).then(pl.col("due_part")).otherwise(nothing),
        amount_reported=pl.when(reported).then(owed).otherwise(nothing),
    )
    return pl.concat([rows, paid], how="horizontal")


def _with_booked(rows: pl.LazyFrame, booked: pl.LazyFrame) -> pl.LazyFrame:
    """What is booked on a row by its present user in the window's months, and what of it was imported."""
    first = pl.col("revision") == 0
    of_row = booked.group_by(_OF_ROW).agg(
        *(pl.col(lot).sum().alias(f"booked_{lot}") for lot in LOTS),
        *(pl.col(lot).filter(first).sum().alias(f"imported_{lot}") for lot in LOTS),
        first.any().alias("imported"),
    )
    amounts = [f"{kind}_{lot}" for kind in ("booked", "imported") for lot in LOTS]
    return rows.join(
        of_row.with_columns(pl.col("user_id").cast(pl.Categorical)), on=_OF_ROW, how="left", maintain_order="left"
    ).with_columns(pl.col(amounts).fill_null(0), pl.col("imported").fill_null(value=False))


def _known(accounts: pl.LazyFrame) -> pl.LazyFrame:
    return accounts.select(pl.col("user_id").cast(pl.Categorical), has_account=pl.lit(value=True))


def _kept(held: pl.LazyFrame) -> pl.LazyFrame:
    """Draws that stand whatever the row costs now: what was invoiced besides them, or what another program drew."""
    frozen = pl.col("reported") | pl.col("has_account").is_null()
    return held.with_columns(
        pl.when(frozen)
        .then(pl.col(f"booked_{lot}"))
        .when(pl.col("class") == EARLY)
        .then(pl.col(f"imported_{lot}"))
        .otherwise(whole(0))
        .alias(f"kept_{lot}")
        for lot in LOTS
    )


def _demand() -> pl.Expr:
    takes = (pl.col("class") == PREPAID) & ~pl.col("reported") & pl.col("has_account").is_not_null()
    return pl.when(takes).then(pl.col("part")).otherwise(whole(0))


def available(accounts: pl.LazyFrame, booked: pl.LazyFrame, stays: pl.LazyFrame, rules: CreditRules) -> pl.LazyFrame:
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
    none, unit = whole(0), whole(10 ** (PLACES - rules.scale))
    left = {
        "free": free + bought.clip(upper_bound=none),
        "purchased": bought + free.clip(upper_bound=none),
    }
    return (
        accounts.join(own, on="user_id", how="left")
        .join(stays.with_columns(pl.col("user_id").cast(pl.String)), on="user_id", how="left")
        .select(
            pl.col("user_id").cast(pl.Categorical),
            *((amount // unit * unit).clip(lower_bound=none).alias(f"{lot}_left") for lot, amount in left.items()),
        )
    )


def settled(rows: pl.LazyFrame, lots: Sequence[str], bounds: Bounds = UNMEASURED) -> pl.LazyFrame:
    """Adds ``<lot>_drawn`` for each of ``lots``: what it pays of each row's ``demand``, given ``<lot>_left`` (null:
    nothing), all at least 0; and ``open``, the running total of what no lot pays. Rows of a user lie together, oldest
    first.
    """
    demand = bounds.column("demand")
    running = demand.running(pl.col("new_user"), bounds.rows)
    starts = pl.col("user_id").ne_missing(pl.col("user_id").shift())
    rows = rows.with_columns(new_user=starts).with_columns(open=running.wide)
    return reduce(lambda found, lot: _one_lot(found, lot, demand.most, running.most, bounds.rows), lots, rows)


def _one_lot(rows: pl.LazyFrame, lot: str, most_of_row: int, most: int, count: int) -> pl.LazyFrame:
    name = f"{lot}_drawn"
    known = Bounds(count, {"open": (0, most), name: (0, most)})
    opened, reached = known.column("open"), known.column(name)
    # More than all rows demand is as good as that much.
    left = Whole(pl.col(f"{lot}_left").fill_null(0).cast(WIDE), 0, UNKNOWN).at_most(most)
    return rows.with_columns(opened.at_most(left).wide.alias(name)).with_columns(
        reached.steps(pl.col("new_user")).known(0, most_of_row).wide.alias(name), open=(opened - reached).wide
    )


def postings(rows: pl.LazyFrame, accounts: pl.LazyFrame, booked: pl.LazyFrame) -> pl.LazyFrame:
    """What must be booked so that the ledger shows the draws of ``rows``: one row per key that differs.

    Out: user_id, id, month, date, free, purchased (signed), ``fresh`` (nothing stands for the row in this window),
    ``vanished`` (the key has no row any more), ``first`` (see ``first_draws``). Users without an account are left as
    they are.
    """
    target = rows.select(pl.col("user_id").cast(pl.String), "id", "month", "date", *LOTS)
    known = booked.join(accounts, on="user_id", how="semi")
    stands = known.group_by(*_OF_ROW, pl.col("date").dt.month_start().alias("month")).agg(
        *(pl.col(lot).sum().alias(f"booked_{lot}") for lot in LOTS), pl.col("date").max().alias("booked_date")
    )
    touched = pl.concat(
        [target.filter((pl.col("free") != 0) | (pl.col("purchased") != 0)).select(KEY), stands.select(KEY)]
    )
    live = target.join(touched.unique(), on=KEY, how="semi").with_columns(live=pl.lit(value=True))
    seen = (
        known.filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
        .select(_OF_ROW)
        .unique()
        .with_columns(seen=pl.lit(value=True))
    )
    return (
        live.join(accounts, on="user_id", how="semi")
        .join(stands, on=KEY, how="full", coalesce=True)
        .select(
            *KEY,
            pl.coalesce("date", "booked_date").alias("date"),
            *((pl.col(lot).fill_null(0) - pl.col(f"booked_{lot}").fill_null(0)).cast(WIDE).alias(lot) for lot in LOTS),
            pl.col("live").is_null().alias("vanished"),
        )
        .filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
        .join(seen, on=_OF_ROW, how="left")
        .with_columns(pl.col("seen").is_null().alias("fresh"), first=pl.lit(value=False))
        .drop("seen")
        .sort("user_id", "date", "id", "month")
    )


def first_draws(rows: pl.LazyFrame) -> pl.LazyFrame:
    """``postings`` of rows of which the ledger has never heard: all that is drawn of them."""
    return (
        rows.filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
        .select(
            pl.col("user_id").cast(pl.String),
            *("id", "month", "date", *LOTS),
            vanished=pl.lit(value=False),
            fresh=pl.lit(value=True),
            first=pl.lit(value=True),
        )
        .sort("user_id", "date", "id", "month")
    )

"""Users of whom the ledger need not be asked: what it holds follows from what stands elsewhere.

A user is *steady* where the roll-up of the days that were covered before, computed anew from usage, prices and the
account as they are now, equals what stands in every column, hashes included, and each of these days' rows shows just
the draws computed for it. Then the same rows were priced and drawn in the same order from the same credit: the ledger
holds these draws, and none of rows of days to come. Whoever moved in any way is not steady.
"""

from collections.abc import Set
from dataclasses import dataclass

import polars as pl

from jobs.figures import user_months
from jobs.model.frames import DRAWS
from jobs.plan import Plan

KEYS = ["user_id", "month"]


@dataclass(frozen=True, slots=True)
class Steady:
    """Ids of steady users, and whether they are ``everybody`` who has rows; ``months``: all that user_monthly shall
    hold of them (figures.user_months), None where new days have come."""

    users: pl.Series
    everybody: bool
    months: pl.DataFrame | None


def own_draws(standing: pl.LazyFrame) -> pl.LazyFrame:
    """What user_monthly says of the window's own draws, as if each month were one draw (frames.DRAWS)."""
    facts = {"id": pl.lit(0), "date": pl.col("month"), "revision": pl.lit(1)}
    amounts = {"free": pl.col("credits_free"), "purchased": pl.col("credits_purchased")}
    drawn = standing.with_columns(**facts, **amounts).filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
    return drawn.select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def steady(
    plan: Plan, rows: pl.DataFrame, held: pl.DataFrame, standing: pl.DataFrame, anew: Set[str] = frozenset()
) -> Steady:
    """Who is steady, of users with credited ``rows`` (compute.credits, from ``own_draws``) and accounts ``held``, but
    for those to be asked ``anew``."""
    old = rows if rows.select(plan.is_covered.all()).item() else rows.filter(plan.is_covered)
    target = user_months(old, held, plan).collect()
    columns = [name for name in target.columns if name not in ("rows", "unpriced")]
    both = target.join(standing.select(columns), on=KEYS, how="full", coalesce=True, suffix="_held")
    same = pl.all_horizontal(
        pl.col("rows").is_not_null(), *(pl.col(n).eq_missing(pl.col(f"{n}_held")) for n in columns if n not in KEYS)
    )
    moved = pl.concat([both.filter(~same)["user_id"], _odd(plan, rows), pl.Series(sorted(anew), dtype=pl.String)])
    users = rows["user_id"].unique().cast(pl.String)
    everybody = moved.is_empty()
    if not everybody:
        users = users.filter(~users.is_in(moved.unique().implode()))
        target = target.filter(pl.col("user_id").is_in(users.implode()))
    return Steady(users, everybody, target if old.height == rows.height else None)


def _odd(plan: Plan, rows: pl.DataFrame) -> pl.Series:
    """Users with a row that shows anything but its draws, or that is drawn already though its day is new."""
    if not plan.query.read.credits.shown:
        return pl.Series("user_id", [], dtype=pl.String)
    due = pl.when(plan.is_covered).then(pl.col("free") + pl.col("purchased")).otherwise(0)
    odd = rows.lazy().filter(pl.col("deducted").cast(pl.Int128).ne_missing(due)).select("user_id").collect()
    return odd["user_id"].unique().cast(pl.String)

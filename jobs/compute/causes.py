"""Why a closed month changed: which of the four inputs of a user-month are no longer what it was computed from."""

from collections.abc import Sequence
from datetime import date

import polars as pl

KEY = ["month", "user_id"]
UNCHANGED = pl.DataFrame(
    schema={"month": pl.Date, "user_id": pl.String}
    | dict.fromkeys(("old_total", "new_total", "old_credits", "new_credits"), pl.Int128)
    | {"cause": pl.String}
)
HASHES = {"usage_hash": "usage", "rates_hash": "price", "overrides_hash": "override"}
"""What tells that an input changed, by its name in rollup.corrections; credit is told by ``_credit``."""


def keep_closed_months(target: pl.LazyFrame, held: pl.LazyFrame, closed: Sequence[date]) -> pl.LazyFrame:
    """``target`` (of user_monthly) without what is no change of a closed month: there the account moves on with every
    later month, so that credits_hash alone says nothing."""
    names = target.collect_schema().names()
    same = [pl.col(name).eq_missing(pl.col(f"{name}_held")) for name in names if name not in (*KEY, "credits_hash")]
    stays = pl.col("month").is_in(closed) & pl.all_horizontal(same)
    kept = pl.when(stays).then(pl.col("credits_hash_held")).otherwise(pl.col("credits_hash"))
    joined = target.join(held, on=KEY, how="left", suffix="_held", maintain_order="left")
    return joined.with_columns(credits_hash=kept).select(names)


def causes(changed: pl.LazyFrame) -> pl.LazyFrame:
    """month, user_id, old_total, new_total, old_credits, new_credits (units of 10^-10; 0 where there is no row), cause.

    In: each changed user-month as it shall be and, with the suffix _held, as it is stored (either may be missing), and
    ``account_hash``: the hash of its account before this run, less what we ourselves have drawn since it was stored.
    """
    both = pl.col("total_cost").is_not_null() & pl.col("total_cost_held").is_not_null()
    cause = joined(both, pl.when(both & _credit()).then(pl.lit("credit")))
    return changed.select(
        *KEY,
        pl.col("total_cost_held").fill_null(0).alias("old_total"),
        pl.col("total_cost").fill_null(0).alias("new_total"),
        pl.col("credits_deducted_held").fill_null(0).alias("old_credits"),
        pl.col("credits_deducted").fill_null(0).alias("new_credits"),
        # Nothing came from outside: another month of the user has given back, or taken, what this one draws on.
        cause=pl.when(cause == "").then(pl.lit("credit")).otherwise(cause),
    )


def joined(both: pl.Expr, *more: pl.Expr) -> pl.Expr:
    """The inputs that differ, joined by +, empty where none does; ``both``: the user-month is and was there.

    Who came or went is usage alone: there is no price to compare.
    """
    words = []
    for name, word in HASHES.items():
        differs = pl.col(name).ne_missing(pl.col(f"{name}_held"))
        words.append(pl.when(differs if word == "usage" else differs & both).then(pl.lit(word)))
    return pl.concat_str([*words, *more], separator="+", ignore_nulls=True)


def _credit() -> pl.Expr:
    """Whether others changed the account (or how the same rows are paid), where the month is paid by credits at all."""
    paid = [
        pl.col(f"{name}{end}").fill_null(0) != 0 for name in ("credits_deducted", "uncovered") for end in ("", "_held")
    ]
    held = pl.col("credits_hash_held").str.split(".")
    account = held.list.get(1, null_on_oob=True)
    moved = account.is_not_null() & (account != "") & account.ne_missing(pl.col("account_hash"))
    pays = held.list.get(0).ne_missing(pl.col("credits_hash").str.split(".").list.get(0))
    return pl.any_horizontal(paid) & (moved | (pays & pl.col("usage_hash").eq_missing(pl.col("usage_hash_held"))))

"""Why a closed month changed: which of the four inputs of a user-month are no longer what it was computed from."""

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

KEY = ["month", "user_id"]
SUMS = {"total": "total_cost"} | {
    name: name for name in ("credits_deducted", "uncovered", "amount_due", "amount_reported")
}
"""What is shown of a user-month before it changed (old_) and after (new_), and its column of user_monthly."""
FIGURES = [f"{when}_{name}" for name in SUMS for when in ("old", "new")]
UNCHANGED = pl.DataFrame(
    schema={"month": pl.Date, "user_id": pl.String} | dict.fromkeys(FIGURES, pl.Int128) | {"cause": pl.String}
)
Repriced = Mapping[date, tuple[str, frozenset[str]]]
"""By month the rates_hash by which it was priced last, and the meters whose prices are others now."""


def keep_closed_months(target: pl.LazyFrame, stored: pl.LazyFrame, closed: Sequence[date]) -> pl.LazyFrame:
    """``target`` (of user_monthly) without what is no change of a closed month: there the account moves on with every
    later month, so that credits_hash alone says nothing."""
    names = target.collect_schema().names()
    same = [pl.col(name).eq_missing(pl.col(f"{name}_held")) for name in names if name not in (*KEY, "credits_hash")]
    stays = pl.col("month").is_in(closed) & pl.all_horizontal(same)
    kept = pl.when(stays).then(pl.col("credits_hash_held")).otherwise(pl.col("credits_hash"))
    joined = target.join(stored, on=KEY, how="left", suffix="_held", maintain_order="left")
    return joined.with_columns(credits_hash=kept).select(names)


def find_causes(changed: pl.LazyFrame, meters: Sequence[str], repriced: Repriced) -> pl.LazyFrame:
    """month, user_id, FIGURES (units of 10^-10; 0 where there is no row, null where it was not computed), cause.

    Without user-months of which nothing but hashes differs.
    In: each changed user-month as it shall be and, with the suffix _held, as it is stored (either may be missing), and
    ``account_hash``: the hash of its account before this run, less what we ourselves have drawn since it was stored.
    """
    both = pl.col("total_cost").is_not_null() & pl.col("total_cost_held").is_not_null()
    words = {
        "usage": _differs("usage_hash"),
        "price": both & is_repriced(meters, repriced),
        "override": both & _differs("overrides_hash"),
        "credit": both & _credit(),
    }
    told = [pl.when(holds).then(pl.lit(word)) for word, holds in words.items()]
    cause = pl.concat_str(told, separator="+", ignore_nulls=True)
    stored = [name for name in changed.collect_schema().names() if name.endswith("_held") and "_hash_" not in name]
    differs = pl.any_horizontal(_differs(name.removesuffix("_held")) for name in stored)
    return changed.filter(~both | differs).select(
        *KEY,
        *(
            _sum(column, end).alias(f"{when}_{name}")
            for name, column in SUMS.items()
            for when, end in (("old", "_held"), ("new", ""))
        ),
        # Nothing came from outside: another month of the user has given back, or taken, what this one draws on.
        cause=pl.when(cause == "").then(pl.lit("credit")).otherwise(cause),
    )


def is_repriced(meters: Sequence[str], repriced: Repriced) -> pl.Expr:
    """Whether a meter that a user-month has some of, or had, has another price than it was computed with.

    In: columns as in ``find_causes``. A user-month that was not computed by the prices of ``repriced`` may have had any
    others: of it every meter counts.
    """
    month = pl.col("month")
    before = {day: hash_ for day, (hash_, _) in repriced.items()}
    known = pl.col("rates_hash_held").eq_missing(month.replace_strict(before, return_dtype=pl.String))
    counts = []
    for meter in meters:
        has = pl.any_horizontal(pl.col(f"{meter}{end}").fill_null(0) != 0 for end in ("", "_held"))
        changed = [day for day, (_, others) in repriced.items() if meter in others]
        counts.append(has & (~known | month.is_in(changed)))
    return _differs("rates_hash") & pl.any_horizontal(counts)


def _sum(column: str, end: str) -> pl.Expr:
    return pl.when(pl.col(f"total_cost{end}").is_null()).then(0).otherwise(pl.col(f"{column}{end}"))


def _differs(name: str) -> pl.Expr:
    return pl.col(name).ne_missing(pl.col(f"{name}_held"))


def _credit() -> pl.Expr:
    """Whether others changed the account (or how the same rows are paid), where the month is paid by credits at all."""
    paid = [
        pl.col(f"{name}{end}").fill_null(0) != 0 for name in ("credits_deducted", "uncovered") for end in ("", "_held")
    ]
    before = pl.col("credits_hash_held").str.split(".")
    account = before.list.get(1, null_on_oob=True)
    moved = account.is_not_null() & (account != "") & account.ne_missing(pl.col("account_hash"))
    pays = before.list.get(0).ne_missing(pl.col("credits_hash").str.split(".").list.get(0))
    return pl.any_horizontal(paid) & (moved | (pays & pl.col("usage_hash").eq_missing(pl.col("usage_hash_held"))))

"""Why a user-month changes: the inputs (usage, price, override, credit) that differ from those it was computed with."""

from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl

from jobs.domain.tables import USER_MONTH

COMPARED_AMOUNTS = {"total": "total_cost"} | {
    name: name for name in ("credits_deducted", "uncovered", "amount_due", "amount_reported")
}
"""The amounts that are shown of a user-month that changes, each before (old_) and after (new_): their columns, by
name."""
FIGURES = [f"{when}_{name}" for name in COMPARED_AMOUNTS for when in ("old", "new")]
NO_CAUSES = pl.DataFrame(
    schema={"month": pl.Date, "user_id": pl.String} | dict.fromkeys(FIGURES, pl.Int128) | {"cause": pl.String}
)
Repriced = Mapping[date, tuple[str, frozenset[str]]]
"""By month: the rates_hash of the run that priced the month last, and the meters whose prices have changed since."""


def keep_stored_credits_hash(target: pl.LazyFrame, stored: pl.LazyFrame, closed: Sequence[date]) -> pl.LazyFrame:
    """Returns ``target``, with the stored credits_hash where nothing else of a closed month differs (user_monthly).

    Every later month changes the account, so credits_hash alone is no change of a closed month.
    """
    names = target.collect_schema().names()
    is_same = [
        pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in names if name not in (*USER_MONTH, "credits_hash")
    ]
    is_unchanged = pl.col("month").is_in(closed) & pl.all_horizontal(is_same)
    credits_hash = pl.when(is_unchanged).then(pl.col("credits_hash_stored")).otherwise(pl.col("credits_hash"))
    joined = target.join(stored, on=USER_MONTH, how="left", suffix="_stored", maintain_order="left")
    return joined.with_columns(credits_hash=credits_hash).select(names)


def find_causes(changed: pl.LazyFrame, meters: Sequence[str], repriced: Repriced) -> pl.LazyFrame:
    """Returns the causes of each user-month that changes: month, user_id, FIGURES, cause.

    FIGURES are in units of 10^-10: 0 where there is no row, null where an amount was not computed. User-months of which
    only hashes differ are left out.

    - ``changed``: user-months with target columns and, with the suffix _stored, the stored ones (either may be
      missing); ``account_hash``: the hash of the account before this run, less our own draws since the user-month was
      stored;
    - ``repriced``: see ``is_repriced``.
    """
    has_both = pl.col("total_cost").is_not_null() & pl.col("total_cost_stored").is_not_null()
    is_cause = {
        "usage": _differs("usage_hash"),
        "price": has_both & is_repriced(meters, repriced),
        "override": has_both & _differs("overrides_hash"),
        "credit": has_both & _is_credit_changed(),
    }
    names = [pl.when(applies).then(pl.lit(name)) for name, applies in is_cause.items()]
    cause = pl.concat_str(names, separator="+", ignore_nulls=True)
    columns = changed.collect_schema().names()
    compared = [name for name in columns if f"{name}_stored" in columns and not name.endswith("_hash")]
    differs = pl.any_horizontal(_differs(name) for name in compared)
    return changed.filter(~has_both | differs).select(
        *USER_MONTH,
        *(
            _amount(column, end).alias(f"{when}_{name}")
            for name, column in COMPARED_AMOUNTS.items()
            for when, end in (("old", "_stored"), ("new", ""))
        ),
        # No input changed. So another month of the user has taken credit that this month drew on, or given some back.
        cause=pl.when(cause == "").then(pl.lit("credit")).otherwise(cause),
    )


def is_repriced(meters: Sequence[str], repriced: Repriced) -> pl.Expr:
    """Whether the price of a used meter has changed (used: it has a quantity now, or had one before).

    Columns: as in ``find_causes``. Where the user-month was not computed with the prices of ``repriced``, its own
    prices are unknown: then every meter counts as changed.
    """
    month = pl.col("month")
    hashes = {day: rates_hash for day, (rates_hash, _) in repriced.items()}
    is_known = pl.col("rates_hash_stored").eq_missing(month.replace_strict(hashes, return_dtype=pl.String))
    is_meter_repriced = []
    for meter in meters:
        has_quantity = pl.any_horizontal(pl.col(f"{meter}{end}").fill_null(0) != 0 for end in ("", "_stored"))
        changed = [day for day, (_, changed_meters) in repriced.items() if meter in changed_meters]
        is_meter_repriced.append(has_quantity & (~is_known | month.is_in(changed)))
    return _differs("rates_hash") & pl.any_horizontal(is_meter_repriced)


def _amount(column: str, end: str) -> pl.Expr:
    return pl.when(pl.col(f"total_cost{end}").is_null()).then(0).otherwise(pl.col(f"{column}{end}"))


def _differs(name: str) -> pl.Expr:
    return pl.col(name).ne_missing(pl.col(f"{name}_stored"))


def _is_credit_changed() -> pl.Expr:
    """Whether another program changed the account, or the billing mode of the same rows changed.

    Only where the month is paid by credits.
    """
    paid = [
        pl.col(f"{name}{end}").fill_null(0) != 0
        for name in ("credits_deducted", "uncovered")
        for end in ("", "_stored")
    ]
    # credits_hash: billing modes, account, credit settings and open debts, joined by full stops.
    stored = pl.col("credits_hash_stored").str.split(".")
    account = stored.list.get(1, null_on_oob=True)
    has_account_changed = account.is_not_null() & (account != "") & account.ne_missing(pl.col("account_hash"))
    has_mode_changed = stored.list.get(0).ne_missing(pl.col("credits_hash").str.split(".").list.get(0))
    return pl.any_horizontal(paid) & (
        has_account_changed | (has_mode_changed & pl.col("usage_hash").eq_missing(pl.col("usage_hash_stored")))
    )


def find_debt_causes(changed: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Returns the causes of change of user-months whose debts are settled, as ``find_causes`` does."""
    if changed.is_empty():
        return NO_CAUSES
    before, after = (
        months.select(*USER_MONTH, **{f"{when}_{name}": column for name, column in COMPARED_AMOUNTS.items()})
        for when, months in (("old", stored), ("new", changed))
    )
    return before.join(after, on=USER_MONTH).with_columns(cause=pl.lit("credit")).select(NO_CAUSES.columns)

"""The charges of a FOCUS file: what each quantity costs by the rate card alone, and after price overrides.

A charge is a user's quantity of one meter in one tier on a day in a cluster. Its costs are differences of rounded
cumulative sums over the tiers of a usage row, so that the charges of a meter add up to its cost in user_daily.
"""

from dataclasses import replace

import polars as pl

from jobs.domain.billing_periods import days_in
from jobs.domain.fixed_point import ONE
from jobs.domain.fixed_point_columns import UNKNOWN, BoundedInt, int128, scaled_half_even
from jobs.domain.names import USER_DAY
from jobs.domain.schemas import FREE, usage_schema
from jobs.pipeline.row_rating import with_overrides
from jobs.postgres.run_scope import RunScope
from jobs.rating.charges import HUNDRED_PERCENT
from jobs.rating.price_breakdown import price_breakdown
from jobs.rating.price_overrides import DISCOUNT, ID, PRICE
from jobs.reports.rated_month import RatedUsers

PRICE_PLACES = 18
"""Decimals of unit prices and pricing quantities: a discounted price, or a GB-month, seldom ends within ten."""
MOST_PRICED = 1000 * 31 * ONE
CHARGE_KEY = (*USER_DAY, "line", "override_id")


def list_charges(scope: RunScope, rated: RatedUsers) -> pl.DataFrame:
    """Returns one row per user, day, cluster, tier of the rate card, and price override.

    Columns: CHARGE_KEY (``line``: of the tier in the rate card), ``quantity``, ``list_cost``, ``contracted_cost`` and
    ``effective_cost`` (units of 10^-10; effective: 0 for usage of free users), ``pricing_quantity``, ``list_price`` and
    ``contracted_price`` (units of 10^-18, per pricing unit).
    """
    usage = rated.rows.select(usage_schema([meter.name for meter in scope.meters]).keys())
    ordered = with_overrides(usage.lazy(), scope).collect()
    by_card = replace(scope.pricing_terms, overridden=frozenset())
    pieces = price_breakdown(ordered.lazy(), by_card).collect().drop("because", "discount", "tier_from")
    costs = _add_costs(_join_overrides(pieces, ordered, scope), scope)
    rows = rated.rows.select("id", *USER_DAY, is_free=pl.col("class") == FREE)
    effective = pl.when("is_free").then(int128(0)).otherwise(pl.col("contracted_cost"))
    return (
        costs.join(rows, on="id")
        .lazy()
        .with_columns(effective_cost=effective)
        .group_by(CHARGE_KEY)
        .agg(
            pl.col("quantity", "list_cost", "contracted_cost", "effective_cost").sum(),
            pl.col("price", "to_pay", "override_price", "priced_for").first(),
        )
        .select(
            *CHARGE_KEY,
            *("quantity", "list_cost", "contracted_cost", "effective_cost"),
            pricing_quantity=_rounded(pl.col("quantity") * _finer(), pl.col("priced_for"), MOST_PRICED),
            list_price=pl.col("price") * _finer(),
            contracted_price=_rounded(
                pl.coalesce("override_price", "price") * _finer() * pl.col("to_pay"),
                int128(HUNDRED_PERCENT),
                HUNDRED_PERCENT,
            ),
        )
        .collect()
    )


def _finer() -> pl.Expr:
    """What an amount in units of 10^-10 is multiplied by, to be one in units of 10^-18."""
    return int128(10**PRICE_PLACES // ONE)


def _rounded(numerator: pl.Expr, denominator: pl.Expr, most: int) -> pl.Expr:
    """``numerator / denominator``, rounded half to even; ``most``: the largest denominator."""
    return BoundedInt(numerator, -UNKNOWN, UNKNOWN).divided(BoundedInt(denominator, 1, most)).wide


def _join_overrides(pieces: pl.DataFrame, ordered: pl.DataFrame, scope: RunScope) -> pl.DataFrame:
    """Adds ``override_price``, ``to_pay`` (the share of the price that a discount leaves) and ``override_id``."""
    found = [
        ordered.filter(pl.col(ID + meter).is_not_null()).select(
            "id",
            meter=pl.lit(meter),
            override_price=pl.col(PRICE + meter).cast(pl.Int128),
            discount=pl.when(pl.col(PRICE + meter).is_null()).then(pl.col(DISCOUNT + meter)),
            override_id=pl.col(ID + meter),
        )
        for meter in sorted(scope.pricing_terms.overridden)
    ]
    columns = {"override_price": pl.Int128, "discount": pl.Int64, "override_id": pl.String}
    if not found:
        joined = pieces.with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in columns.items())
    else:
        joined = pieces.join(pl.concat(found), on=["id", "meter"], how="left", maintain_order="left")
    to_pay = int128(HUNDRED_PERCENT) - pl.col("discount").fill_null(0).cast(pl.Int128)
    return joined.with_columns(to_pay=to_pay).drop("discount")


def _add_costs(pieces: pl.DataFrame, scope: RunScope) -> pl.DataFrame:
    """Adds ``list_cost`` and ``contracted_cost``, and ``priced_for``: how many units, or unit days, a price is for."""
    levels = [meter.name for meter in scope.meters if meter.is_level]
    days = pl.when(pl.col("meter").is_in(levels)).then(days_in(scope.window.first)).otherwise(1)
    of_row = ["id", "meter"]
    cumulative = pieces.with_columns(
        priced_for=(pl.col("per") * days).cast(pl.Int128),
        _quantity=pl.col("quantity").cum_sum().over(of_row),
        _by_card=(pl.col("quantity") * pl.col("price")).cum_sum().over(of_row),
    )
    denominator = pl.col("priced_for") * int128(ONE)
    by_override = pl.coalesce(pl.col("_quantity") * pl.col("override_price"), "_by_card")
    contracted = scaled_half_even(by_override, denominator, pl.col("to_pay"), int128(HUNDRED_PERCENT))
    rounded = cumulative.with_columns(_list=_rounded(pl.col("_by_card"), denominator, MOST_PRICED))
    is_plain = pl.col("override_id").is_null()
    if rounded["override_id"].null_count() == rounded.height:
        rounded = rounded.with_columns(_contracted=pl.col("_list"))
    else:
        rounded = rounded.with_columns(_contracted=pl.when(is_plain).then("_list").otherwise(contracted))
    return rounded.with_columns(
        (pl.col(f"_{name}") - pl.col(f"_{name}").shift(fill_value=0).over(of_row)).alias(f"{name}_cost")
        for name in ("list", "contracted")
    ).drop("_quantity", "_by_card", "_list", "_contracted")

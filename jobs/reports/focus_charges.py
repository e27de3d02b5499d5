"""The charges of a FOCUS file: what each quantity costs by the rate card alone, and after price overrides.

A charge is a user's quantity of one meter in one tier on a day in a cluster. Its costs are differences of rounded
cumulative sums over the tiers of a usage row, so that the charges of a meter add up to its cost in user_daily.
"""

from dataclasses import replace

import polars as pl

from jobs.domain.billing_periods import days_in
from jobs.domain.fixed_point import ONE
from jobs.domain.fixed_point_columns import cumulate, deltas, divide_half_even, int128, scaled_half_even
from jobs.domain.schemas import FREE, usage_schema
from jobs.domain.tables import USER_DAY
from jobs.postgres.run_scope import RunScope
from jobs.rating.charges import DISCOUNT, HUNDRED_PERCENT, ID, PRICE, sort_with_overrides
from jobs.rating.price_breakdown import price_breakdown
from jobs.reports.rated_month import RatedUsers

PRICE_PLACES = 18
"""Decimals of unit prices and pricing quantities: a discounted price, or a GB-month, seldom ends within ten."""
_FINER = int128(10**PRICE_PLACES // ONE)
"""An amount in units of 10^-10 times this is one in units of 10^-18."""
CHARGE_KEY = (*USER_DAY, "line", "override_id")


def list_charges(scope: RunScope, rated: RatedUsers) -> pl.DataFrame:
    """Returns one row per user, day, cluster, tier of the rate card, and price override.

    Columns: CHARGE_KEY (``line``: of the tier in the rate card), ``quantity``, ``list_cost``, ``contracted_cost`` and
    ``effective_cost`` (units of 10^-10; effective: 0 for usage of free users), ``pricing_quantity``, ``list_price`` and
    ``contracted_price`` (units of 10^-18, per pricing unit).
    """
    names = usage_schema([meter.name for meter in scope.meters]).keys()
    ordered = sort_with_overrides(
        rated.rows.select(*names, is_free=pl.col("class") == FREE).lazy(), scope.pricing_terms
    ).collect()
    ordered = ordered.with_columns(id=pl.int_range(pl.len(), dtype=pl.UInt32))  # fast to sort and to join
    by_card = replace(scope.pricing_terms, overridden=frozenset())
    pieces = price_breakdown(ordered.lazy(), by_card).collect().drop("because", "discount", "tier_from")
    costs = _add_costs(_join_overrides(pieces, ordered, scope), scope)
    effective = pl.when("is_free").then(int128(0)).otherwise(pl.col("contracted_cost"))
    charges = (
        costs.join(ordered.select("id", *USER_DAY, "is_free"), on="id")
        .lazy()
        .with_columns(effective_cost=effective)
        .group_by(CHARGE_KEY)
        .agg(
            pl.col("quantity", "list_cost", "contracted_cost", "effective_cost").sum(),
            pl.col("price", "contracted_price", "priced_for").first(),
        )
    )
    return (
        charges.with_columns(
            pricing_quantity=divide_half_even(pl.col("quantity") * _FINER, pl.col("priced_for")),
            list_price=pl.col("price") * _FINER,
        )
        .drop("price", "priced_for")
        .collect()
    )


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
    kinds = {"id": pl.UInt32, "meter": pl.String, "override_price": pl.Int128, "discount": pl.Int64}
    overrides = pl.concat([pl.DataFrame(schema={**kinds, "override_id": pl.String}), *found])
    to_pay = int128(HUNDRED_PERCENT) - pl.col("discount").fill_null(0).cast(pl.Int128)
    joined = pieces.join(overrides, on=["id", "meter"], how="left", maintain_order="left")
    return joined.with_columns(to_pay=to_pay).drop("discount")


def _add_costs(pieces: pl.DataFrame, scope: RunScope) -> pl.DataFrame:
    """Adds ``list_cost`` and ``contracted_cost``; ``contracted_price`` (units of 10^-18); and ``priced_for``: how many
    units, or unit days, a price is for."""
    levels = [meter.name for meter in scope.meters if meter.is_level]
    numbers = {meter.name: number for number, meter in enumerate(scope.meters)}
    days = pl.when(pl.col("meter").is_in(levels)).then(days_in(scope.window.first)).otherwise(1)
    starts, number = pl.col("_starts"), pl.col("meter").replace_strict(numbers, return_dtype=pl.Int64)
    # The pieces of a meter of a row become neighbours, in the order of the tiers, which they have already.
    adjacent = pieces.with_columns(
        priced_for=(pl.col("per") * days).cast(pl.Int128),
        _row_meter=pl.col("id").cast(pl.Int64) * len(numbers) + number,
    ).sort("_row_meter", maintain_order=True)
    cumulative = adjacent.with_columns(
        _starts=pl.col("_row_meter").ne_missing(pl.col("_row_meter").shift())
    ).with_columns(
        _quantity=cumulate(pl.col("quantity"), starts),
        _by_card=cumulate(pl.col("quantity") * pl.col("price"), starts),
    )
    denominator = pl.col("priced_for") * int128(ONE)
    listed = cumulative.with_columns(_list=divide_half_even(pl.col("_by_card"), denominator))
    is_plain = pl.col("override_id").is_null()
    both = [_add_plain_price(listed.filter(is_plain)), _add_override_price(listed.filter(~is_plain), denominator)]
    # Whole groups are moved: an override is of a row's meter.
    return (
        pl.concat(both)
        .with_columns(list_cost=deltas(pl.col("_list"), starts), contracted_cost=deltas(pl.col("_contracted"), starts))
        .drop("_row_meter", "_starts", "_quantity", "_by_card", "_list", "_contracted")
    )


def _add_plain_price(pieces: pl.DataFrame) -> pl.DataFrame:
    return pieces.with_columns(_contracted=pl.col("_list"), contracted_price=pl.col("price") * _FINER)


def _add_override_price(pieces: pl.DataFrame, denominator: pl.Expr) -> pl.DataFrame:
    """The same rounding as in rating.charges."""
    whole = pl.coalesce(pl.col("_quantity") * pl.col("override_price"), "_by_card")
    price = pl.coalesce("override_price", "price") * _FINER * pl.col("to_pay")
    return pieces.with_columns(
        _contracted=scaled_half_even(whole, denominator, pl.col("to_pay"), HUNDRED_PERCENT),
        contracted_price=divide_half_even(price, int128(HUNDRED_PERCENT)),
    )

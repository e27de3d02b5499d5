"""Charges: what each row's quantity of each meter costs (DESIGN section 2).

A charge is one exact fraction, Σ over tiers of quantity in the tier × price ÷ per, for a level also ÷ the days
of the month; it is rounded once, half to even, at 10 places. The quantity of a row in a tier is what lies
between the running total before the row and after it, clipped to the tier's bounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import add

import polars as pl

from jobs.compute.exact import WIDE, before, divided_half_even, scaled_half_even, whole
from jobs.compute.overrides import DISCOUNT, PRICE
from jobs.model.frames import ROW_ORDER, cost_of
from jobs.model.meters import Meter
from jobs.model.rates import Card, RateCard, Tier
from jobs.model.scale import ONE

HUNDRED_PERCENT = 100 * ONE


@dataclass(frozen=True, slots=True)
class Terms:
    """By what usage is priced: the meters that are read, their cards, the days in question, the tiers' reach."""

    meters: tuple[Meter, ...]
    rates: RateCard
    first: date
    last: date
    tiers: str
    overridden: frozenset[str]

    def cards(self, meter: Meter) -> list[Card]:
        return self.rates.between(meter.name, self.first, self.last)


def in_row_order(usage: pl.LazyFrame) -> pl.LazyFrame:
    """Each user's rows together and in row order, with month, its days, and where a month, a day, or on a day a
    cluster of a user starts.

    Users are coded as categoricals: sorting and comparing them as text would cost more than all the pricing.
    """
    user = pl.col("user_id")
    return (
        usage.with_columns(user.cast(pl.Categorical), pl.col("date").dt.month_start().alias("month"))
        .with_columns(pl.col("date").dt.days_in_month().cast(WIDE).alias("month_days"))
        .sort(user.to_physical(), *ROW_ORDER, nulls_last=True)
        .with_columns(new_user=user.ne_missing(user.shift()))
        .with_columns(
            new_day=pl.col("new_user") | (pl.col("date") != pl.col("date").shift()),
            new_month=pl.col("new_user") | (pl.col("month") != pl.col("month").shift()),
        )
        .with_columns(new_cluster=pl.col("new_day") | pl.col("cluster_id").ne_missing(pl.col("cluster_id").shift()))
        .drop("new_user")
    )


def charges(ordered: pl.LazyFrame, terms: Terms) -> pl.LazyFrame:
    """Adds ``<meter>_cost`` (units of 10^-10) for each meter to rows from ``in_row_order``, overrides joined."""
    return ordered.with_columns(
        charge(meter, terms.cards(meter), terms).alias(cost_of(meter.name)) for meter in terms.meters
    )


def charge(meter: Meter, cards: Sequence[Card], terms: Terms) -> pl.Expr:
    """The charge of one meter: by the card of the day, unless an override replaces or discounts it."""
    quantity = pl.col(meter.name).cast(WIDE)
    numerator, per = whole(0), whole(1)
    for card in cards:
        holds = pl.col("date") >= card.effective_from
        numerator = pl.when(holds).then(_by_card(meter, card, terms)).otherwise(numerator)
        per = pl.when(holds).then(whole(card.per)).otherwise(per)
    denominator = per * ONE * (pl.col("month_days") if meter.is_level else 1)
    if meter.name not in terms.overridden:
        return divided_half_even(numerator, denominator)
    price, discount = pl.col(PRICE + meter.name), pl.col(DISCOUNT + meter.name)
    numerator = pl.when(price.is_not_null()).then(quantity * price.cast(WIDE)).otherwise(numerator)
    keep = whole(HUNDRED_PERCENT) - pl.when(price.is_null()).then(discount).fill_null(0).cast(WIDE)
    return scaled_half_even(numerator, denominator, keep, whole(HUNDRED_PERCENT))


def _by_card(meter: Meter, card: Card, terms: Terms) -> pl.Expr:
    priced = [quantity * whole(tier.price) for tier, quantity in tier_quantities(meter, card, terms)]
    return reduce(add, priced)


def tier_quantities(meter: Meter, card: Card, terms: Terms) -> list[tuple[Tier, pl.Expr]]:
    """Each tier of ``card`` with what of a row's quantity lies in it, in units of 10^-10.

    Where tiers reach over a month, a level's running total and bounds are GB-months: both sides are multiplied
    by the days of the month instead, so that nothing is divided before the one rounding.
    """
    quantity = pl.col(meter.name).cast(WIDE)
    if len(card.tiers) == 1:
        return [(card.tiers[0], quantity)]
    monthly = terms.tiers == "month"
    start = before(quantity, pl.col("new_month" if monthly else "new_day"))
    unit = pl.col("month_days") if monthly and meter.is_level else whole(1)
    return [
        (tier, _clipped(start + quantity, tier.start, end, unit) - _clipped(start, tier.start, end, unit))
        for tier, end in card.bounds()
    ]


def _clipped(total: pl.Expr, low: int, high: int | None, unit: pl.Expr) -> pl.Expr:
    return total.clip(whole(low) * unit, None if high is None else whole(high) * unit)

"""Charges: what each row's quantity of each meter costs (DESIGN section 2).

A charge is one exact fraction, Σ over tiers of quantity in the tier × price ÷ per, for a level also ÷ the days
of the month; it is rounded once, half to even, at 10 places. The quantity of a row in a tier is what lies
between the running total before the row and after it, clipped to the tier's bounds.
"""

from calendar import monthrange
from collections.abc import Sequence
from functools import reduce
from math import gcd
from operator import add

import polars as pl

from jobs.domain.fixed_point import ONE
from jobs.domain.fixed_point_columns import (
    NARROW,
    UNMEASURED,
    WIDE,
    BoundedInt,
    ColumnBounds,
    int128,
    scaled_half_even,
    where,
)
from jobs.domain.meters import Meter, cost_of
from jobs.domain.rate_card import Card, Tier
from jobs.domain.rules import PricingTerms
from jobs.domain.schemas import CODED, ROW_ORDER
from jobs.rating.price_overrides import DISCOUNT, PRICE

HUNDRED_PERCENT = 100 * ONE


def sort_rows(usage: pl.LazyFrame) -> pl.LazyFrame:
    """Each user's rows together and in row order, with month, its days, and where a month or a day of a user starts."""
    user, month = pl.col("user_id"), pl.col("date").dt.month_start().alias("month")
    ordered = _sorted(usage.with_columns(CODED).collect()).lazy().with_columns(month)
    new_day, new_user = pl.col(_DAY).ne_missing(pl.col(_DAY).shift()), user.ne_missing(user.shift())
    return ordered.with_columns(
        month_days=pl.col("date").dt.days_in_month(),
        new_day=new_day,
        new_month=new_user | (pl.col("month") != pl.col("month").shift()),
    )


_DAY = "month_days"
"""The name under which user and day travel as one number, as long as the column is not yet made."""


def _sorted(usage: pl.DataFrame) -> pl.DataFrame:
    """In row order. One number of user and day sorts three times as fast as all that decides, and usually is enough:
    a user has one row a day."""
    day = pl.col("date").to_physical().cast(pl.Int64)
    keyed = usage.with_columns((pl.col("user_id").to_physical().cast(pl.Int64) * 2**31 + day).alias(_DAY)).sort(_DAY)
    if (keyed[_DAY] == keyed[_DAY].shift()).any():
        return keyed.sort(_DAY, *ROW_ORDER, nulls_last=True)
    return keyed


def add_charges(ordered: pl.LazyFrame, terms: PricingTerms, bounds: ColumnBounds = UNMEASURED) -> pl.LazyFrame:
    """Adds ``<meter>_cost`` (units of 10^-10) for each meter to rows from ``sort_rows``, overrides joined."""
    return ordered.with_columns(
        charge(meter, terms.cards(meter), terms, bounds).alias(cost_of(meter.name)) for meter in terms.meters
    )


def charge(meter: Meter, cards: Sequence[Card], terms: PricingTerms, bounds: ColumnBounds) -> pl.Expr:
    """The charge of one meter: by the card of the day, unless an override replaces or discounts it."""
    numerator, denominator = _by_card(meter, cards[0], terms, bounds)
    for card in cards[1:]:
        holds = pl.col("date") >= card.effective_from
        then = _by_card(meter, card, terms, bounds)
        numerator, denominator = where(holds, then[0], numerator), where(holds, then[1], denominator)
    if meter.name not in terms.overridden:
        return numerator.divided(denominator).wide
    price, discount = pl.col(PRICE + meter.name), pl.col(DISCOUNT + meter.name)
    by_price = pl.col(meter.name).cast(WIDE) * price.cast(WIDE)
    over = pl.when(price.is_not_null()).then(by_price).otherwise(numerator.wide)
    keep = int128(HUNDRED_PERCENT) - pl.when(price.is_null()).then(discount).fill_null(0).cast(WIDE)
    return scaled_half_even(over, denominator.wide, keep, int128(HUNDRED_PERCENT))


def _by_card(meter: Meter, card: Card, terms: PricingTerms, bounds: ColumnBounds) -> tuple[BoundedInt, BoundedInt]:
    """What the quantities come to, as one fraction."""
    parts = tier_quantities(meter, card, terms, bounds)
    # In lowest terms, so that real days fit 64 bits; a price of somebody's own is no part of the card's fraction.
    common = 1 if meter.name in terms.overridden else gcd(card.per * ONE, *(tier.price for tier, _ in parts))
    numerator = reduce(add, [quantity * (tier.price // common) for tier, quantity in parts], BoundedInt.of(0))
    return numerator, (_days(terms) if meter.is_level else BoundedInt.of(1)) * (card.per * ONE // common)


def _days(terms: PricingTerms) -> BoundedInt:
    """Of the month of each row."""
    if (terms.first.year, terms.first.month) == (terms.last.year, terms.last.month):
        return BoundedInt.of(monthrange(terms.first.year, terms.first.month)[1])
    return BoundedInt(pl.col("month_days").cast(NARROW), 28, 31)


def tier_quantities(
    meter: Meter, card: Card, terms: PricingTerms, bounds: ColumnBounds = UNMEASURED
) -> list[tuple[Tier, BoundedInt]]:
    """Each tier of ``card`` with what of a row's quantity lies in it, in units of 10^-10.

    Where tiers reach over a month, a level's running total and bounds are GB-months: both sides are multiplied
    by the days of the month instead, so that nothing is divided before the one rounding.
    """
    quantity = bounds.column(meter.name)
    if len(card.tiers) == 1:
        return [(card.tiers[0], quantity)]
    if terms.tiers == "day" and bounds.alone:
        return [(tier, _reached(quantity, tier, above, BoundedInt.of(1)) - tier.start) for tier, above in card.bounds()]
    monthly = terms.tiers == "month"
    starts = pl.col("new_month" if monthly else "new_day")
    unit = _days(terms) if monthly and meter.is_level else BoundedInt.of(1)
    total = quantity.cumulative(starts, bounds.rows)
    return [
        (tier, ((_reached(total, tier, above, unit) - unit * tier.start).deltas(starts)).with_bounds(0, quantity.most))
        for tier, above in card.bounds()
    ]


def _reached(total: BoundedInt, tier: Tier, above: int | None, unit: BoundedInt) -> BoundedInt:
    """How far the total comes in a tier that ends ``above``."""
    reached = total.at_least(unit * tier.start)
    return reached if above is None else reached.at_most(unit * above)

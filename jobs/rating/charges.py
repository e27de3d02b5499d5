"""Charges: what each row's quantity of each meter costs; and row costs, recorded or rated (manual: prices).

A charge is one exact fraction: Σ over tiers of quantity in the tier × price ÷ per, for a level also ÷ the days
of the month. It is rounded once, half to even, at 10 places. The quantity of a row in a tier is the difference
between the running total after the row and before it, both clipped to the tier's bounds.
"""

from collections.abc import Sequence
from datetime import date
from functools import reduce
from operator import add

import polars as pl

from jobs.domain.fixed_point import ONE
from jobs.domain.fixed_point_columns import (
    WIDE,
    cumulate,
    deltas,
    divide_half_even,
    int128,
    quantize,
    scaled_half_even,
)
from jobs.domain.meters import Meter, cost_of
from jobs.domain.rate_card import Card, Tier
from jobs.domain.rules import CostRules, PricingTerms
from jobs.domain.schemas import OVERRIDES, ROW_ORDER, USER_AS_CATEGORY

HUNDRED_PERCENT = 100 * ONE
PRICE, DISCOUNT, ID = "override_price_", "override_discount_", "override_id_"
"""Columns of the price override of a row, each followed by the name of a meter."""


def rate_rows(usage: pl.LazyFrame, terms: PricingTerms, rules: CostRules) -> pl.DataFrame:
    """Returns the rows of ``usage`` (schemas.usage_schema) with charges and costs, by user in row order."""
    names, meters = usage.collect_schema().names(), [meter.name for meter in terms.meters]
    charged = add_charges(sort_with_overrides(usage, terms), terms).collect()
    added = ("month", "starts_month", "starts_day")
    costs = ("total_cost", "adjustment_cost", "lacks_recorded", "new_total_cost")
    return (
        add_costs(charged.lazy(), terms.meters, rules).select(*names, *added, *costs, *map(cost_of, meters)).collect()
    )


def sort_with_overrides(usage: pl.LazyFrame, terms: PricingTerms) -> pl.LazyFrame:
    """Returns ``usage`` as ``sort_rows`` does, each row with the overrides of its user and day."""
    overrides = pl.LazyFrame(list(terms.overrides), schema=OVERRIDES)
    return join_overrides(sort_rows(usage), expand_overrides(overrides, terms.first, terms.last), terms.overridden)


def sort_rows(usage: pl.LazyFrame) -> pl.LazyFrame:
    """Returns ``usage`` by user and in row order, with ``month``, ``_month_days``, ``starts_day`` and ``starts_month``.

    ``_month_days``: how many days the month has; ``starts_day``, ``starts_month``: whether a user's day or month starts
    here.
    """
    user, month = pl.col("user_id"), pl.col("date").dt.month_start().alias("month")
    ordered = _sort(usage.with_columns(USER_AS_CATEGORY).collect()).lazy().with_columns(month)
    sort_key = pl.col(_SORT_KEY)
    starts_day, new_user = sort_key.ne_missing(sort_key.shift()), user.ne_missing(user.shift())
    return ordered.with_columns(
        _month_days=pl.col("date").dt.days_in_month(),
        starts_day=starts_day,
        starts_month=new_user | (pl.col("month") != pl.col("month").shift()),
    ).drop(_SORT_KEY)


_SORT_KEY = "_user_day"
"""User and day as one number."""


def _sort(usage: pl.DataFrame) -> pl.DataFrame:
    """Returns ``usage`` by user and in row order, with _SORT_KEY.

    One number sorts three times as fast as all columns of the row order. It is usually enough, because a user has one
    row a day.
    """
    user, day = (pl.col(name).to_physical().cast(pl.Int64) for name in ("user_id", "date"))
    keyed = usage.with_columns((user * 2**31 + day).alias(_SORT_KEY)).sort(_SORT_KEY)
    if (keyed[_SORT_KEY] == keyed[_SORT_KEY].shift()).any():
        return keyed.sort(_SORT_KEY, *ROW_ORDER, nulls_last=True)
    return keyed


def expand_overrides(overrides: pl.LazyFrame, first: date, last: date) -> pl.LazyFrame:
    """Returns the override that holds for each user, meter and day of ``first`` to ``last``, if there is one.

    ``overrides``: schemas.OVERRIDES. Of several on one day the one with the highest rank holds (the latest
    ``valid_from``, then ``created_at``, then ``id``).
    """
    since, until = pl.max_horizontal("first", pl.lit(first)), pl.min_horizontal("last", pl.lit(last))
    return (
        overrides.filter(since <= until)
        .with_columns(date=pl.date_ranges(since, until))
        .explode("date")
        .sort("rank")
        .unique(["user_id", "meter", "date"], keep="last", maintain_order=True)
        .select("user_id", "meter", "date", "price", "discount", "id")
    )


def join_overrides(ordered: pl.LazyFrame, overrides: pl.LazyFrame, meters: frozenset[str]) -> pl.LazyFrame:
    """Adds price, discount and id of the override of the day for each of ``meters``; null where there is none.

    ``overrides``: one row per user, meter and day (``expand_overrides``).
    """
    for meter in sorted(meters):
        of_meter = overrides.filter(pl.col("meter") == meter).select(
            USER_AS_CATEGORY,
            "date",
            pl.col("price").alias(PRICE + meter),
            pl.col("discount").alias(DISCOUNT + meter),
            pl.col("id").alias(ID + meter),
        )
        ordered = ordered.join(of_meter, on=["user_id", "date"], how="left", maintain_order="left")
    return ordered


def add_charges(ordered: pl.LazyFrame, terms: PricingTerms) -> pl.LazyFrame:
    """Adds ``<meter>_cost`` (units of 10^-10) for each meter to rows from ``sort_rows``; overrides are joined for the
    meters of ``terms.overridden``."""
    return ordered.with_columns(
        charge(meter, terms.cards(meter), terms).alias(cost_of(meter.name)) for meter in terms.meters
    )


def charge(meter: Meter, cards: Sequence[Card], terms: PricingTerms) -> pl.Expr:
    """Returns the charge of one meter: by the card of the day, unless an override replaces or discounts it."""
    numerator, denominator = _card_fraction(meter, cards[0], terms)
    for card in cards[1:]:
        is_effective = pl.when(pl.col("date") >= card.effective_from)
        newer_numerator, newer_denominator = _card_fraction(meter, card, terms)
        numerator = is_effective.then(newer_numerator).otherwise(numerator)
        denominator = is_effective.then(newer_denominator).otherwise(denominator)
    if meter.name not in terms.overridden:
        return divide_half_even(numerator, denominator)
    price, discount = pl.col(PRICE + meter.name), pl.col(DISCOUNT + meter.name)
    by_price = pl.col(meter.name).cast(WIDE) * price.cast(WIDE)
    undivided = pl.when(price.is_not_null()).then(by_price).otherwise(numerator)
    percent_to_pay = int128(HUNDRED_PERCENT) - pl.when(price.is_null()).then(discount).fill_null(0).cast(WIDE)
    return scaled_half_even(undivided, denominator, percent_to_pay, HUNDRED_PERCENT)


def _card_fraction(meter: Meter, card: Card, terms: PricingTerms) -> tuple[pl.Expr, pl.Expr]:
    """Returns numerator and denominator of the charge by ``card``."""
    numerator = reduce(add, [quantity * int128(tier.price) for tier, quantity in tier_quantities(meter, card, terms)])
    days = _MONTH_DAYS if meter.is_level else int128(1)
    return numerator, days * int128(card.per * ONE)


_MONTH_DAYS = pl.col("_month_days").cast(WIDE)


def tier_quantities(meter: Meter, card: Card, terms: PricingTerms) -> list[tuple[Tier, pl.Expr]]:
    """Returns each tier of ``card`` with the quantity of each row that lies in it (units of 10^-10).

    With tiers over a month, a level's running total and bounds are GB-months. Both are multiplied by the days of the
    month, so that nothing is divided before the one rounding.
    """
    quantity = pl.col(meter.name).cast(WIDE)
    if len(card.tiers) == 1:
        return [(card.tiers[0], quantity)]
    monthly = terms.tier_period == "month"
    starts = pl.col("starts_month" if monthly else "starts_day")
    unit = _MONTH_DAYS if monthly and meter.is_level else int128(1)
    total = cumulate(quantity, starts)
    return [(tier, deltas(_clip(total, tier, above, unit), starts)) for tier, above in card.bounds()]


def _clip(total: pl.Expr, tier: Tier, above: int | None, unit: pl.Expr) -> pl.Expr:
    """Returns how much of ``total`` lies in ``tier``, which ends at ``above`` (None: never)."""
    start = unit * int128(tier.start)
    clipped = pl.max_horizontal(total, start)
    return (clipped if above is None else pl.min_horizontal(clipped, unit * int128(above))) - start


def add_costs(charged: pl.LazyFrame, meters: Sequence[Meter], rules: CostRules) -> pl.LazyFrame:
    """Adds ``total_cost``, ``adjustment_cost`` (Int128), ``lacks_recorded`` and ``new_total_cost`` to charged rows.

    ``lacks_recorded``: whether a row of a recorded month has no recorded cost, so that it costs its charges.
    ``new_total_cost``: the quantized cost, null in recorded months. Amounts are in units of 10^-10.
    """
    charged_sum = reduce(add, [pl.col(cost_of(meter.name)) for meter in meters], int128(0))
    is_rated = pl.col("month").is_in(sorted(rules.rated))
    is_set = pl.col("recorded").is_not_null()
    if rules.zero_is_missing:
        is_set &= pl.col("recorded") != 0
    takes_recorded = is_set & ~is_rated
    total = pl.when(takes_recorded).then(pl.col("recorded").cast(WIDE)).otherwise(charged_sum)
    return charged.with_columns(
        total_cost=total,
        adjustment_cost=total - charged_sum,
        lacks_recorded=~takes_recorded & ~is_rated,
        new_total_cost=pl.when(is_rated).then(quantize(total, rules.scale)).otherwise(pl.lit(None, WIDE)),
    )

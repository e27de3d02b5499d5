"""Charges broken down by tier: which part of a quantity got which price, from which rate card line or override."""

from collections.abc import Iterator

import polars as pl

from jobs.domain.fixed_point import ONE
from jobs.domain.fixed_point_columns import WIDE, cumulate, deltas, int128, scaled_half_even
from jobs.domain.meters import Meter
from jobs.domain.rate_card import Card
from jobs.domain.rules import PricingTerms
from jobs.domain.schemas import usage_schema
from jobs.rating.charges import DISCOUNT, HUNDRED_PERCENT, ID, PRICE, sort_with_overrides, tier_quantities


def break_down_prices(rows: pl.DataFrame, terms: PricingTerms) -> pl.DataFrame:
    """Returns which part of each quantity of rated ``rows`` got which price (``price_breakdown``)."""
    usage = rows.select(usage_schema([meter.name for meter in terms.meters]).keys()).lazy()
    return price_breakdown(sort_with_overrides(usage, terms), terms).collect()


def price_breakdown(ordered: pl.LazyFrame, terms: PricingTerms) -> pl.LazyFrame:
    """Returns one row per usage row, meter and tier with a quantity.

    Columns: id, meter; tier_from, quantity, price (units of 10^-10), per; line (of the card's tier; null where an
    override has the price); because (that line and its reference, or the override's id); discount (percent in units of
    10^-10, or null); charge (units of 10^-10).

    ``ordered``: rows from ``charges.sort_with_overrides``.
    """
    by_tier = [
        rows.with_columns(_meter=pl.lit(number))
        for number, meter in enumerate(terms.meters)
        for rows in _break_down_meter(ordered, meter, terms)
    ]
    # The tiers of a row's meter become neighbours, in their order.
    return (
        pl.concat(by_tier)
        .filter(pl.col("quantity") != 0)
        .sort("id", "_meter", maintain_order=True)
        .with_columns(_starts=pl.struct("id", "_meter").ne_missing(pl.struct("id", "_meter").shift()))
        .with_columns(charge=_charge())
        .drop("_meter", "_days", "_starts")
    )


def _charge() -> pl.Expr:
    """Returns the charge of each tier: the difference of two rounded cumulative sums over the tiers of a row's meter.

    So the charges add up to the charge of the meter (charges.charge), which is rounded once.
    """
    starts, priced = pl.col("_starts"), pl.col("quantity") * pl.col("price")
    cumulative = cumulate(priced, starts)
    percent_to_pay = int128(HUNDRED_PERCENT) - pl.col("discount").fill_null(0).cast(WIDE)
    divisor = pl.col("per").cast(WIDE) * pl.col("_days").cast(WIDE) * int128(ONE)
    rounded = scaled_half_even(cumulative, divisor, percent_to_pay, HUNDRED_PERCENT)
    return deltas(rounded, starts)


def _break_down_meter(ordered: pl.LazyFrame, meter: Meter, terms: PricingTerms) -> Iterator[pl.LazyFrame]:
    if meter.name not in terms.overridden:
        kinds = {PRICE: pl.Int64, DISCOUNT: pl.Int64, ID: pl.String}
        ordered = ordered.with_columns(pl.lit(None, kind).alias(name + meter.name) for name, kind in kinds.items())
    cards = terms.cards(meter)
    for card, following in zip(cards, [*cards[1:], None], strict=True):
        applies = pl.col("date") >= card.effective_from
        if following is not None:
            applies &= pl.col("date") < following.effective_from
        yield from _break_down_card(ordered, meter, card, terms, applies)


def _break_down_card(
    ordered: pl.LazyFrame, meter: Meter, card: Card, terms: PricingTerms, applies: pl.Expr
) -> Iterator[pl.LazyFrame]:
    price, because = pl.col(PRICE + meter.name), pl.lit("override ") + pl.col(ID + meter.name)
    days = pl.col("_month_days").cast(pl.Int64) if meter.is_level else pl.lit(1, pl.Int64)
    same = [pl.col("id"), pl.lit(meter.name).alias("meter"), pl.lit(card.per).alias("per"), days.alias("_days")]
    yield ordered.filter(applies & price.is_not_null()).select(
        *same,
        pl.lit(0, dtype=WIDE).alias("tier_from"),
        pl.col(meter.name).cast(WIDE).alias("quantity"),
        price.cast(WIDE).alias("price"),
        pl.lit(None, dtype=pl.Int64).alias("line"),
        because.alias("because"),
        pl.lit(None, dtype=pl.Int64).alias("discount"),
    )
    for number, (tier, quantity) in enumerate(tier_quantities(meter, card, terms)):
        # The running total needs every row of the user, so it is taken before rows are left out.
        yield (
            ordered.with_columns(quantity.alias(f"tier {number}"))
            .filter(applies & price.is_null())
            .select(
                *same,
                pl.lit(tier.start, dtype=WIDE).alias("tier_from"),
                pl.col(f"tier {number}").alias("quantity"),
                pl.lit(tier.price, dtype=WIDE).alias("price"),
                pl.lit(tier.line, dtype=pl.Int64).alias("line"),
                pl.coalesce(because, pl.lit(f"line {tier.line}: {tier.reference}")).alias("because"),
                pl.col(DISCOUNT + meter.name).alias("discount"),
            )
        )

"""Row cost: recorded or rated, the adjustment between the two, and what is written back (DESIGN section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce
from operator import add

import polars as pl

from jobs.compute.exact import WIDE, before, rounded, whole
from jobs.model.frames import cost_of
from jobs.model.meters import Meter
from jobs.model.scale import PLACES


@dataclass(frozen=True, slots=True)
class CostRules:
    """``rated``: the months in which every row is priced; ``zero_is_unpriced``: a recorded 0 has no price yet;
    ``scale``: the decimals of usage_daily.total_cost, None where it has no limit."""

    rated: frozenset[date]
    zero_is_unpriced: bool
    scale: int | None


def costs(charged: pl.LazyFrame, meters: Sequence[Meter], rules: CostRules) -> pl.LazyFrame:
    """Adds ``total_cost``, ``adjustment_cost`` (Int128), ``unpriced`` and ``target`` to charged rows.

    ``target`` is what usage_daily.total_cost shall be, null where it is not ours to write.
    """
    charged_sum = reduce(add, [pl.col(cost_of(meter.name)) for meter in meters], whole(0))
    is_rated = pl.col("month").is_in(sorted(rules.rated))
    recorded = pl.col("recorded").cast(WIDE)
    set_ = recorded.is_not_null() & (recorded != 0) if rules.zero_is_unpriced else recorded.is_not_null()
    takes_recorded = set_ & ~is_rated
    return (
        charged.with_columns(
            total_cost=pl.when(takes_recorded).then(recorded).otherwise(charged_sum),
            unpriced=~takes_recorded & ~is_rated,
        )
        .with_columns(adjustment_cost=pl.col("total_cost") - charged_sum)
        .with_columns(target=pl.when(is_rated).then(quantized(pl.col("total_cost"), rules.scale)))
    )


def quantized(cost: pl.Expr, scale: int | None) -> pl.Expr:
    """Each row's part of the user's running cost in the month, at ``scale`` decimals.

    round(C_i) − round(C_i−1): the parts add up to the rounded whole, so that a customer whose days cost 0.004
    is charged. Needs rows from ``pricing.in_row_order``.
    """
    value = cost.cast(WIDE)
    if scale is None or scale >= PLACES:
        return value
    start = before(value, pl.col("new_month"))
    return rounded(start + value, scale) - rounded(start, scale)

"""Row cost: recorded or rated, the adjustment between the two, and what is written back (manual: prices)."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import polars as pl

from jobs.domain.fixed_point_columns import UNMEASURED, WIDE, BoundedInt, ColumnBounds, quantized, where
from jobs.domain.meters import Meter, cost_of
from jobs.domain.rules import CostRules


def add_costs(
    charged: pl.LazyFrame, meters: Sequence[Meter], rules: CostRules, bounds: ColumnBounds = UNMEASURED
) -> pl.LazyFrame:
    """Adds ``total_cost``, ``adjustment_cost`` (Int128), ``unpriced`` and ``new_total_cost`` to charged rows.

    ``unpriced``: whether a row of a recorded month has no recorded cost, and costs its charges.
    ``new_total_cost``: of usage_daily, null where it is not written. Amounts are in units of 10^-10.
    """
    charged_sum = reduce(add, [bounds.column(cost_of(meter.name)) for meter in meters], BoundedInt.of(0))
    is_rated = pl.col("month").is_in(sorted(rules.rated))
    is_set = pl.col("recorded").is_not_null()
    if rules.zero_is_unpriced:
        is_set &= pl.col("recorded") != 0
    takes_recorded = is_set & ~is_rated
    total = where(takes_recorded, bounds.column("recorded"), charged_sum)
    quantized_total = quantized(total, rules.scale, bounds.rows)
    return charged.with_columns(
        total_cost=total.wide,
        adjustment_cost=(total - charged_sum).wide,
        unpriced=~takes_recorded & ~is_rated,
        new_total_cost=pl.when(is_rated).then(quantized_total.wide).otherwise(pl.lit(None, WIDE)),
    )

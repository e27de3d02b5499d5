"""Rates the rows of a run: the steps of jobs.rating in their order."""

import polars as pl

from jobs.domain.meters import cost_of
from jobs.domain.schemas import OVERRIDES, usage_schema
from jobs.postgres.run_scope import RunScope
from jobs.rating import price_overrides
from jobs.rating.charges import add_charges, add_costs, sort_rows
from jobs.rating.price_breakdown import price_breakdown


def is_priceable(scope: RunScope) -> pl.Expr:
    """Whether a row can be priced: its quantities are within bounds, and its recorded cost is, unless a run wrote it.

    The reading query marks a value out of bounds by -1.
    """
    values = [pl.col(meter.name) >= 0 for meter in scope.meters]
    is_rated_month = pl.col("date").dt.month_start().is_in(sorted(scope.cost_rules.rated))
    return pl.all_horizontal((pl.col("recorded").fill_null(0) >= 0) | is_rated_month, *values)


def rate_rows(usage: pl.LazyFrame, scope: RunScope) -> pl.DataFrame:
    """Returns the rows of ``usage`` (schemas.usage_schema) with charges and costs, by user in row order."""
    names, meters = usage.collect_schema().names(), [meter.name for meter in scope.meters]
    charged = add_charges(with_overrides(usage, scope), scope.pricing_terms).collect()
    added = ("month", "starts_month", "starts_day")
    costs = ("total_cost", "adjustment_cost", "lacks_recorded", "new_total_cost")
    return (
        add_costs(charged.lazy(), scope.meters, scope.cost_rules)
        .select(*names, *added, *costs, *map(cost_of, meters))
        .collect()
    )


def break_down_prices(rows: pl.DataFrame, scope: RunScope) -> pl.DataFrame:
    """Returns which part of each quantity of rated ``rows`` got which price (rating.price_breakdown)."""
    usage = rows.select(usage_schema([meter.name for meter in scope.meters]).keys()).lazy()
    return price_breakdown(with_overrides(usage, scope), scope.pricing_terms).collect()


def with_overrides(usage: pl.LazyFrame, scope: RunScope) -> pl.LazyFrame:
    """Returns ``usage`` in row order, each row with the overrides of its user and day."""
    frame = pl.DataFrame(list(scope.overrides.rows), schema=OVERRIDES).lazy()
    overrides = price_overrides.expand_overrides(frame, scope.window.first, scope.window.last)
    return price_overrides.join_overrides(sort_rows(usage), overrides, scope.pricing_terms.overridden)

"""The figures of statements: what a month holds of each user, from the tables and from the usage priced again.

Amounts and quantities are in units of 10^-10, as everywhere inside.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from jobs.domain.fixed_point_columns import WIDE
from jobs.domain.schemas import DRAWN, EARLY
from jobs.postgres.run_scope import RunScope
from jobs.rating.price_breakdown import break_down_prices
from jobs.reports.rated_month import RatedUsers

PAYMENTS = ("credits_free", "credits_purchased", "uncovered", "amount_due", "amount_reported", "amount_free")
"""Columns of user_monthly that say how the cost is paid."""
_LINE = ("user_id", "meter", "source", "is_override", "tier_from", "price", "per", "discount")


@dataclass(frozen=True, slots=True)
class PricedLine:
    """All of a meter's quantity that has one price.

    - ``source``: the reference of the rate card; of a price override empty (``is_override``)
    - ``quantity``: of a level the sum over days; ``charge``: what it adds to the meter's charges
    """

    meter: str
    source: str
    is_override: bool
    tier_from: int
    price: int
    per: int
    discount: int | None
    quantity: int
    charge: int


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one user and month.

    - ``lines``: by meter, date and tier; their charges and ``adjustment`` add up to ``total``
    - ``days``: cost and credit draws by day; ``clusters``: cost by cluster (None: usage without a cluster)
    - ``payments``: PAYMENTS as stored; None: not stored by an older version
    - ``early``: cost before the first day that draws credits; ``elsewhere``: what another month's draws pay
    - ``rejected``: number of rows that cannot be priced, by day
    """

    user: str
    total: int
    adjustment: int
    lines: Sequence[PricedLine]
    days: Sequence[tuple[date, int, int]]
    clusters: Sequence[tuple[int | None, int]]
    payments: Mapping[str, int | None]
    early: int
    elsewhere: int
    rejected: Sequence[tuple[date, int]]


def compute_figures(scope: RunScope, rated: RatedUsers) -> Iterator[Figures]:
    """Yields the figures of each user who has usage or a stored month, sorted by user."""
    lines = _group(_sum_lines(scope, rated))
    days, clusters = (_group(frame) for frame in _sum_days(rated))
    rejected = rated.inputs.rejected.group_by(pl.col("user_id").cast(pl.String), "date").agg(pl.len())
    by_day = _group(rejected.sort("user_id", "date"))
    early, elsewhere = dict(_early_costs(rated).iter_rows()), dict(_paid_elsewhere(rated).iter_rows())
    months = rated.inputs.stored_months.sort("user_id")
    for month in months.iter_rows(named=True):
        user = month["user_id"]
        yield Figures(
            user=user,
            total=month["total_cost"],
            adjustment=month["adjustment_cost"],
            lines=[PricedLine(*line) for line in lines.get(user, ())],
            days=days.get(user, ()),
            clusters=clusters.get(user, ()),
            payments={name: month[name] for name in PAYMENTS},
            early=early.get(user, 0),
            elsewhere=elsewhere.get(user, 0),
            rejected=by_day.get(user, ()),
        )


def _group(rows: pl.DataFrame) -> dict[str, list[tuple[Any, ...]]]:
    """The rows by their first column, without it, in their order."""
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for user, *values in rows.iter_rows():
        found[user].append(tuple(values))
    return found


def _sum_days(rated: RatedUsers) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cost and draws by user and day, and cost by user and cluster, from user_daily.

    A month that was closed before user_daily was kept has no rows there: its rows are priced again.
    """
    days = rated.inputs.stored_days.select("user_id", "date", "cluster_id", "total_cost", drawn="credits_deducted")
    if days.is_empty():
        user = pl.col("user_id").cast(pl.String)
        days = rated.rows.select(user, "date", "cluster_id", pl.col("total_cost").cast(WIDE), drawn=DRAWN.cast(WIDE))
    by_day = days.group_by("user_id", "date").agg(pl.col("total_cost", "drawn").sum())
    by_cluster = days.group_by("user_id", "cluster_id").agg(pl.col("total_cost").sum())
    return by_day.sort("user_id", "date"), by_cluster.sort("user_id", "cluster_id", nulls_last=True)


def _early_costs(rated: RatedUsers) -> pl.DataFrame:
    """By user the cost of prepaid rows before the first day that draws credits, as far as nothing is drawn on them."""
    early = rated.rows.filter(pl.col("class") == EARLY)
    rest = (pl.col("total_cost").cast(WIDE) - DRAWN.cast(WIDE)).sum()
    return early.group_by(pl.col("user_id").cast(pl.String)).agg(rest)


def _paid_elsewhere(rated: RatedUsers) -> pl.DataFrame:
    """By user what is drawn, in a closed month, on rows that have moved into this month since."""
    user = pl.col("user_id").cast(pl.String)
    return rated.inputs.mismatched.group_by(user).agg(pl.col("elsewhere").sum())


def _sum_lines(scope: RunScope, rated: RatedUsers) -> pl.DataFrame:
    """The pieces of all rows as columns of PricedLine, added up by user and price."""
    is_override = pl.col("because").str.starts_with("override ")
    # Without the line: it changes where a line is added to the rate card, and a closed month's statement must not.
    reference = pl.col("because").str.replace(r"^line \d+: ", "")
    source = pl.when(is_override).then(pl.lit("")).otherwise(reference)
    rows = rated.rows.select("id", pl.col("user_id").cast(pl.String), "date")
    pieces = (
        break_down_prices(rated.rows, scope.pricing_terms)
        .join(rows, on="id")
        .with_columns(source=source, is_override=is_override)
    )
    order = {meter.name: number for number, meter in enumerate(scope.meters)}
    return (
        pieces.group_by(_LINE)
        .agg(pl.col("quantity", "charge").sum(), pl.col("date").min())
        .with_columns(place=pl.col("meter").replace_strict(order, return_dtype=pl.Int64))
        .sort("user_id", "place", "date", "tier_from", "price", "source", "discount")
        .select(*_LINE, "quantity", "charge")
    )

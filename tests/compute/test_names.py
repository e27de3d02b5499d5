"""A meter's name becomes a column beside those that pricing makes itself: none of these may be a meter."""

from datetime import date

import polars as pl

from jobs.compute import rollup
from jobs.compute.costs import CostRules, costs
from jobs.compute.overrides import by_day, joined
from jobs.compute.pricing import Terms, charges, in_row_order
from jobs.model.frames import OVERRIDES, usage_schema
from jobs.model.meters import Meter
from jobs.model.rates import parse
from jobs.settings import RESERVED

JUNE = date(2026, 6, 1)
METER = Meter("m", "m", "level", "GB", False, ("m",))


def test_every_column_that_pricing_makes_is_reserved() -> None:
    card = parse("meter,effective_from,tier_from,price,per,reference\nm,2020-01-01,0,1,1,r\n", "rates.csv", ["m"])
    terms = Terms((METER,), card, JUNE, date(2026, 6, 30), "day", frozenset({"m"}))
    held = by_day(pl.LazyFrame(schema=OVERRIDES), terms.first, terms.last)
    ordered = joined(in_row_order(pl.LazyFrame(schema=usage_schema(["m"]))), held, terms.overridden)
    priced = costs(charges(ordered, terms), [METER], CostRules(frozenset(), True, None))
    priced = priced.with_columns(row_hash=pl.lit(0, dtype=pl.UInt64))
    days, users = rollup.cluster_days(priced, [METER]), rollup.cluster_users(priced)
    frames = [ordered, priced, rollup.by_user(priced, [METER]), days, rollup.cluster_months(days, users, [METER])]
    names = {name for frame in frames for name in frame.collect_schema().names()}
    assert {"month_days", "new_day", "version", "rows"} <= names
    taken = {name for name in names - {"m"} if not name.endswith("_cost") and not name.startswith("override_")}
    assert taken - RESERVED == set()

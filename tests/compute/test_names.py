"""A meter's name becomes a column beside those that pricing makes itself: none of these may be a meter."""

from datetime import date

import polars as pl

from jobs.compute import rollup
from jobs.compute.billing import CreditRules
from jobs.compute.costs import CostRules, costs
from jobs.compute.credits import credited
from jobs.compute.lots import LOTS, settled
from jobs.compute.overrides import by_day, joined
from jobs.compute.pricing import Terms, charges, in_row_order
from jobs.model.frames import ACCOUNTS, DRAWS, MODES, OVERRIDES, usage_schema
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
    rules = CreditRules(scale=2, due_scale=2, start=JUNE, splits=True)
    modes, accounts, booked = (pl.LazyFrame(schema=schema) for schema in (MODES, ACCOUNTS, DRAWS))
    paid = credited(priced, modes, accounts, booked, rules)
    # What the passes on the way add, they take away again; a meter of that name would be overwritten all the same.
    between = settled(paid.with_columns(demand=0, free_left=0, purchased_left=0), LOTS)
    days, users = rollup.cluster_days(paid, [METER]), rollup.cluster_users(paid)
    months = [rollup.by_user(paid, [METER]), rollup.cluster_months(days, users, [METER])]
    frames = [ordered, priced, paid, between, accounts, booked, modes, days, *months]
    names = {name for frame in frames for name in frame.collect_schema().names()}
    assert {"month_days", "new_day", "version", "rows"} <= names
    taken = {name for name in names - {"m"} if not name.endswith("_cost") and not name.startswith("override_")}
    assert taken - RESERVED == set()

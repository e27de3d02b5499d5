"""A meter's name becomes a column beside those that pricing makes itself: none of these may be a meter."""

from datetime import date

import polars as pl

from jobs.credits.allocation import CreditInput, allocate_window
from jobs.credits.lots import allocate_lots
from jobs.domain.meters import Meter
from jobs.domain.rate_card import parse
from jobs.domain.rules import LOTS, CostRules, CreditRules, PricingTerms
from jobs.domain.schemas import ACCOUNTS, BILLING_MODE_ENTRIES, DRAWS, OVERRIDES, PAYABLE, usage_schema
from jobs.postgres.accounts import CREDIT_HASHES
from jobs.postgres.usage_writeback import HASH_CHANGES
from jobs.rating.charges import add_charges, add_costs, expand_overrides, join_overrides, sort_rows
from jobs.rollups import sums
from jobs.settings.tables import is_reserved

JUNE = date(2026, 6, 1)
METER = Meter("m", "m", "level", "GB", False, ("m",))
FINGERPRINTS = {"row_count": pl.Int64, "usage_hash": pl.Int64, "written_hash": pl.Int64, "overrides_hash": pl.String}
"""What is joined to the months of users besides: what says what they were computed from."""


def test_every_column_that_pricing_makes_is_reserved() -> None:
    card = parse("meter,effective_from,tier_from,price,per,reference\nm,2020-01-01,0,1,1,r\n", "rates.csv", ["m"])
    terms = PricingTerms((METER,), card, JUNE, date(2026, 6, 30), "day", frozenset({"m"}))
    overrides = expand_overrides(pl.LazyFrame(schema=OVERRIDES), terms.first, terms.last)
    ordered = join_overrides(sort_rows(pl.LazyFrame(schema=usage_schema(["m"]))), overrides, terms.overridden)
    priced = add_costs(add_charges(ordered, terms), [METER], CostRules(frozenset(), True, None))
    rules = CreditRules(scale=2, due_scale=2, start=JUNE, counts_free_apart=True)
    modes, accounts, posted, debts = (
        pl.DataFrame(schema=schema) for schema in (BILLING_MODE_ENTRIES, ACCOUNTS, DRAWS, PAYABLE)
    )
    moved = pl.DataFrame(schema={"user_id": pl.Categorical, "id": pl.UInt128, "elsewhere": pl.Int128})
    inputs = CreditInput(priced.collect(), modes, posted, moved, debts)
    paid = allocate_window(inputs, accounts, rules).lazy()
    # What the passes on the way add, they take away again; a meter of that name would be overwritten all the same.
    between = allocate_lots(paid.with_columns(_demand=0, free_left=0, purchased_left=0), LOTS)
    user_days, user_months = sums.sum_user_days(paid, [METER]), sums.sum_user_months(paid, [METER])
    cluster_days = user_days.drop("user_id").with_columns(users=0)
    clusters = pl.LazyFrame(schema={"month": pl.Date, "cluster_id": pl.UInt128, "active_users": pl.Int64})
    cluster_months = sums.sum_cluster_months(cluster_days, clusters, [METER])
    hashes = [pl.LazyFrame(schema=schema) for schema in (FINGERPRINTS, CREDIT_HASHES, HASH_CHANGES)]
    frames = [ordered, priced, paid, between, accounts.lazy(), posted.lazy(), modes.lazy(), user_days, user_months]
    frames += [cluster_days, cluster_months, *hashes]
    names = {name for frame in frames for name in frame.collect_schema().names()}
    assert {"_month_days", "starts_day", "max_users", "amount_free", "clusters"} <= names
    assert {name for name in names - {"m"} if not is_reserved(name) and not name.startswith("_")} == set()

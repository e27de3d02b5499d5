"""What a row of a FOCUS file says of prices and units; the columns are those of FOCUS 1.2, in their order."""

from datetime import date
from types import SimpleNamespace
from typing import Any, cast

from jobs.domain.meters import DEFAULTS
from jobs.domain.rate_card import parse
from jobs.domain.rules import PricingTerms
from jobs.postgres.run_scope import RunScope
from jobs.reports.focus_columns import FOCUS, list_skus

CARD = """meter,effective_from,tier_from,price,per,reference
cpu_hours,2026-01-01,0,0.10,1,list
cpu_hours,2026-01-01,2.50,0.08,1,"from ""2.5"" hours"
storage_gb,2026-01-01,0,0.30,1,list
feature_store_api_calls,2026-01-01,0,0.10,1000,list
"""


def skus() -> list[dict[str, Any]]:
    meters = tuple(DEFAULTS[name] for name in ("cpu_hours", "storage_gb", "feature_store_api_calls"))
    terms = PricingTerms(
        meters, parse(CARD, "rates.csv", DEFAULTS), date(2026, 6, 1), date(2026, 6, 30), "day", frozenset()
    )
    scope = SimpleNamespace(meters=meters, pricing_terms=terms)
    return list_skus(cast("RunScope", scope)).to_dicts()


def test_a_tier_of_the_rate_card_is_a_price() -> None:
    assert [(sku["line"], sku["SkuId"], sku["SkuPriceId"]) for sku in skus()] == [
        (2, "cpu_hours", "cpu_hours/2026-01-01/0"),
        (3, "cpu_hours", "cpu_hours/2026-01-01/2.5"),
        (4, "storage_gb", "storage_gb/2026-01-01/0"),
        (5, "feature_store_api_calls", "feature_store_api_calls/2026-01-01/0"),
    ]
    assert skus()[1]["SkuPriceDetails"] == '{"x_TierFrom": "2.5", "x_Reference": "from \\"2.5\\" hours"}'


def test_units_are_those_of_the_specification() -> None:
    units = [(sku["ConsumedUnit"], sku["PricingUnit"]) for sku in skus()]
    assert units == [("Hours", "Hours"), ("Hours", "Hours"), ("GB-Days", "GB-Months"), ("Calls", "1000 Calls")]


def test_columns_of_ours_come_last() -> None:
    ours = [name for name in FOCUS if name.startswith("x_")]
    theirs = [name for name in FOCUS if not name.startswith("x_")]
    assert [*FOCUS] == [*sorted(theirs), *ours]

"""The columns of a FOCUS file, their types, and what each of its rows says of prices and units.

FOCUS 1.2, dataset CostAndUsage (focus.finops.org). Left out are columns for what this service does not have: regions,
commitment discounts, capacity reservations, tags, several kinds of accounts, several currencies.
"""

import json
from decimal import Decimal

import polars as pl

from jobs.domain.fixed_point import PLACES, unscaled
from jobs.domain.meters import Meter
from jobs.domain.rate_card import Card, Tier
from jobs.domain.schemas import Schema
from jobs.domain.wording import format_value
from jobs.postgres.run_scope import RunScope
from jobs.reports.focus_charges import PRICE_PLACES

COST, PRICE, TIME = pl.Decimal(38, PLACES), pl.Decimal(38, PRICE_PLACES), pl.Datetime("us", "UTC")
PAYMENTS = {
    "purchased": "x_CreditsPurchased",
    "uncovered": "x_Uncovered",
    "amount_due": "x_AmountDue",
    "amount_reported": "x_AmountReported",
    "amount_free": "x_AmountFree",
}
"""How usage is paid (credits.allocation.apply_ledger), with its column here. Free credits are rows of their own."""
COSTS = {name.lower().replace("cost", "_cost"): name for name in ("ListCost", "ContractedCost", "EffectiveCost")}
COSTS["billed_cost"] = "BilledCost"
FOCUS: Schema = {
    "BilledCost": COST,
    "BillingAccountId": pl.String,
    "BillingAccountName": pl.String,
    "BillingCurrency": pl.String,
    "BillingPeriodEnd": TIME,
    "BillingPeriodStart": TIME,
    "ChargeCategory": pl.String,
    "ChargeClass": pl.String,
    "ChargeDescription": pl.String,
    "ChargeFrequency": pl.String,
    "ChargePeriodEnd": TIME,
    "ChargePeriodStart": TIME,
    "CommitmentDiscountStatus": pl.String,
    "ConsumedQuantity": COST,
    "ConsumedUnit": pl.String,
    "ContractedCost": COST,
    "ContractedUnitPrice": PRICE,
    "EffectiveCost": COST,
    "InvoiceId": pl.String,
    "InvoiceIssuerName": pl.String,
    "ListCost": COST,
    "ListUnitPrice": PRICE,
    "PricingCategory": pl.String,
    "PricingQuantity": PRICE,
    "PricingUnit": pl.String,
    "ProviderName": pl.String,
    "PublisherName": pl.String,
    "ResourceId": pl.String,
    "ResourceName": pl.String,
    "ResourceType": pl.String,
    "ServiceCategory": pl.String,
    "ServiceName": pl.String,
    "ServiceSubcategory": pl.String,
    "SkuId": pl.String,
    "SkuMeter": pl.String,
    "SkuPriceDetails": pl.String,
    "SkuPriceId": pl.String,
    "SubAccountId": pl.String,
    "SubAccountName": pl.String,
    "x_PriceOverrideId": pl.String,
    **dict.fromkeys(PAYMENTS.values(), COST),
}
"""In the order of the file: as in the specification, then what only this program has.

CommitmentDiscountStatus is always null: without it focus-validator cannot check ConsumedQuantity."""
SERVICE = {
    "ServiceCategory": "AI and Machine Learning",
    "ServiceName": "Hopsworks",
    "ServiceSubcategory": "Machine Learning",
}
UNITS = {"h": "Hours", "calls": "Calls", "GB h": "GB-Hours", "": "Units"}
"""Units of meters as the specification writes them; others are written as they are."""
SKUS: Schema = {
    "line": pl.Int64,
    "SkuId": pl.String,
    "SkuMeter": pl.String,
    "SkuPriceId": pl.String,
    "SkuPriceDetails": pl.String,
    "ConsumedUnit": pl.String,
    "PricingUnit": pl.String,
    "price_text": pl.String,
}
"""What is known of a tier of the rate card by its line in the file; ``price_text``: for descriptions."""


def list_skus(scope: RunScope) -> pl.DataFrame:
    """Returns a row of SKUS for each tier of the cards that are in effect in the month."""
    rows = [
        (tier.line, *_describe(meter, card, tier))
        for meter in scope.meters
        for card in scope.pricing_terms.cards(meter)
        for tier in card.tiers
    ]
    return pl.DataFrame(rows, schema=SKUS, orient="row")


def _describe(meter: Meter, card: Card, tier: Tier) -> tuple[str, ...]:
    unit = UNITS.get(meter.unit, meter.unit)
    start = _plain(tier.start)
    details = {"x_TierFrom": start, "x_Reference": tier.reference}
    priced = f"{unit}-Months" if meter.is_level else unit
    return (
        meter.name,
        meter.name.replace("_", " "),
        f"{meter.name}/{card.effective_from}/{start}",
        json.dumps(details, ensure_ascii=False),
        f"{unit}-Days" if meter.is_level else unit,
        priced if card.per == 1 else f"{card.per} {priced}",
        f"{meter.name}, from {start} on, rate card of {card.effective_from}",
    )


def _plain(units: int) -> str:
    return format_value(Decimal(unscaled(units)))

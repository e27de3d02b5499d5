"""The columns of a FOCUS file, their types, and what they have for each of its rows (focus_rows.ROWS).

FOCUS 1.2, dataset CostAndUsage (focus.finops.org). Left out are columns for what this service does not have: regions,
commitment discounts, capacity reservations, tags, several kinds of accounts, several currencies.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import polars as pl

from jobs.domain.billing_periods import next_month
from jobs.domain.fixed_point import PLACES, unscaled
from jobs.domain.meters import Meter
from jobs.domain.rate_card import Card, Tier
from jobs.domain.schemas import Schema, in_decimals
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
FREQUENCIES = {"Usage": "Usage-Based", "Credit": "Usage-Based", "Adjustment": "One-Time"}


def fill_columns(
    scope: RunScope, rows: pl.DataFrame, user_names: Mapping[str, str | None], cluster_names: pl.DataFrame
) -> pl.DataFrame:
    """Returns ``rows`` (focus_rows.ROWS) with the columns of FOCUS.

    ``user_names``: by user id; ``cluster_names``: cluster_id and cluster_name. Both may lack some, or all.
    """
    month, reports = scope.window.first, scope.settings.reports
    provider = reports.provider or reports.operator or "usage-jobs"
    is_usage, is_priced = pl.col("category") == "Usage", pl.col("line").is_not_null()
    override = pl.when(pl.col("override_id").is_not_null()).then(pl.lit(", price override ") + pl.col("override_id"))
    constants = {
        "BillingAccountId": reports.billing_account or provider,
        "BillingCurrency": scope.currencies[month],
        **dict.fromkeys(("InvoiceIssuerName", "ProviderName", "PublisherName"), provider),
        **SERVICE,
    }
    columns = {
        **{name: pl.lit(value) for name, value in constants.items()},
        **{name: in_decimals(column) for column, name in (COSTS | PAYMENTS).items()},
        "BillingPeriodStart": pl.lit(month).cast(TIME),
        "BillingPeriodEnd": pl.lit(next_month(month)).cast(TIME),
        "ChargeCategory": pl.col("category"),
        "ChargeClass": pl.col("charge_class"),
        "ChargeDescription": pl.coalesce("text", pl.col("price_text") + override.otherwise(pl.lit(""))),
        "ChargeFrequency": pl.col("category").replace_strict(FREQUENCIES),
        "ChargePeriodStart": pl.col("first").cast(TIME),
        "ChargePeriodEnd": (pl.col("last") + timedelta(days=1)).cast(TIME),
        "ConsumedQuantity": in_decimals("quantity"),
        "ConsumedUnit": pl.when(is_usage).then("ConsumedUnit"),
        "ContractedUnitPrice": _in_prices("contracted_price"),
        **dict.fromkeys(("BillingAccountName", "CommitmentDiscountStatus", "InvoiceId"), pl.lit(None, dtype=pl.String)),
        "ListUnitPrice": _in_prices("list_price"),
        "PricingCategory": pl.when(is_usage).then(pl.lit("Standard")),
        "PricingQuantity": _in_prices("pricing_quantity"),
        "PricingUnit": pl.when(is_usage).then("PricingUnit"),
        "ResourceName": pl.col("cluster_name"),
        "ResourceType": pl.when(pl.col("cluster_id").is_not_null()).then(pl.lit("Cluster")),
        "SubAccountId": pl.col("user_id"),
        # The specification allows no null here: a user without a name is called by the id.
        "SubAccountName": pl.coalesce("user_name", "user_id"),
        "x_PriceOverrideId": pl.col("override_id"),
        **{name: pl.when(is_priced).then(name) for name in ("SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId")},
    }
    named = (
        rows.join(list_skus(scope), on="line", how="left", maintain_order="left")
        .join(_name_users(user_names), on="user_id", how="left", maintain_order="left")
        .join(_name_clusters(rows, cluster_names), on="cluster_id", how="left", maintain_order="left")
    )
    return named.select(pl.col("ResourceId") if name == "ResourceId" else columns[name].alias(name) for name in FOCUS)


def _in_prices(column: str) -> pl.Expr:
    """A column in units of 10^-18 as decimals."""
    unit = pl.lit(f"{unscaled(1).scaleb(10 - PRICE_PLACES):f}").cast(pl.Decimal(38, PRICE_PLACES))
    return pl.col(column).cast(pl.Decimal(38, 0)) * unit


def _name_users(names: Mapping[str, str | None]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "user_name": pl.String}
    return pl.DataFrame({"user_id": list(names), "user_name": list(names.values())}, schema=schema)


def _name_clusters(rows: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """The clusters of ``rows`` with their ids as text (ResourceId), and their names."""
    known = rows["cluster_id"].drop_nulls().unique()
    texts = pl.DataFrame(
        {"cluster_id": known, "ResourceId": [str(UUID(int=number)) for number in known]},
        schema={"cluster_id": pl.UInt128, "ResourceId": pl.String},
    )
    return texts.join(names, on="cluster_id", how="left")


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

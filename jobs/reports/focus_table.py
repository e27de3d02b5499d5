"""Gives the rows of a FOCUS file its columns."""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import polars as pl

from jobs.domain.billing_periods import next_month
from jobs.domain.fixed_point import unscaled
from jobs.domain.schemas import in_decimals
from jobs.postgres.run_scope import RunScope
from jobs.reports.focus_charges import PRICE_PLACES
from jobs.reports.focus_columns import COSTS, FOCUS, PAYMENTS, SERVICE, TIME, list_skus

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

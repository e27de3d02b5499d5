"""Sums of a FOCUS file beside those of the tables and of a rate card, by plain Decimals.

The rule is that of the manual (reports, FOCUS).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
from oracle import Options, Row, World, accepted, grouped, next_month, price_user, shown, total
from psycopg.rows import dict_row

from jobs.postgres.conninfo import Address
from jobs.reports.export_request import ExportRequest
from jobs.reports.focus import export_focus
from jobs.settings import Settings

Line = Mapping[str, Any]
Sums = dict[tuple[Any, ...], Decimal]
PAID = {
    "x_CreditsPurchased": "credits_purchased",
    "x_Uncovered": "uncovered",
    "x_AmountDue": "amount_due",
    "x_AmountReported": "amount_reported",
    "x_AmountFree": "amount_free",
}


def exported(settings: Settings, url: str, month: date, **asked: Any) -> Sequence[Line]:
    """The rows of the Parquet file of a month."""
    file = BytesIO()
    export_focus(settings, Address(url), ExportRequest(month, month, "", "focus", Path("x.parquet"), **asked), file)
    file.seek(0)
    return pl.read_parquet(file).to_dicts()


def summed(lines: Iterable[Line], column: str, key: Callable[[Line], tuple[Any, ...]]) -> Sums:
    sums: Sums = defaultdict(Decimal)
    with localcontext(prec=60):
        for line in lines:
            sums[key(line)] += line[column]
    return {place: amount for place, amount in sums.items() if amount}


def is_of_a_day(line: Line) -> bool:
    start, end = line["ChargePeriodStart"], line["ChargePeriodEnd"]
    assert isinstance(start, datetime)
    return bool(end - start == timedelta(days=1))


def cell(line: Line) -> tuple[Any, ...]:
    """User, day and cluster."""
    return (line["SubAccountId"], line["ChargePeriodStart"].date(), line["ResourceId"])


def user(line: Line) -> tuple[Any, ...]:
    return (line["SubAccountId"],)


class Tables:
    """What the job's tables have of a month."""

    def __init__(self, url: str, month: date) -> None:
        self.url, self.month, self.end = url, month, next_month(month)

    def sums(self, text: str) -> Sums:
        """The first columns of a query as a key, the last one as an amount; zeros left out."""
        with psycopg.connect(self.url) as link:
            rows = link.execute(text, {"month": self.month, "end": self.end}).fetchall()
        return {tuple(key): amount for *key, amount in rows if amount}

    def daily(self, column: str) -> Sums:
        return self.sums(
            f"SELECT user_id, date, cluster_id::text, {column} FROM rollup.user_daily "
            "WHERE date >= %(month)s AND date < %(end)s"
        )

    def monthly(self, amount: str) -> Sums:
        return self.sums(f"SELECT user_id, {amount} FROM rollup.user_monthly WHERE month = %(month)s")


def check_sums(lines: Sequence[Line], url: str, month: date, meters: Iterable[str]) -> None:
    """Asserts the rule of the manual, to the last digit."""
    tables = Tables(url, month)
    usage = [line for line in lines if line["ChargeCategory"] == "Usage"]
    credits = [line for line in lines if line["ChargeCategory"] == "Credit"]
    costs = [line for line in lines if line["ChargeCategory"] != "Credit"]
    adjusted = [line for line in costs if line["ChargeCategory"] == "Adjustment" and is_of_a_day(line)]
    assert summed(usage + adjusted, "ContractedCost", cell) == tables.daily("total_cost")
    assert summed(adjusted, "ContractedCost", cell) == tables.daily("adjustment_cost")
    for meter in meters:
        of_meter = [line for line in usage if line["SkuId"] == meter]
        assert summed(of_meter, "ContractedCost", cell) == tables.daily(f"{meter}_cost")
    assert summed(costs, "ContractedCost", user) == tables.monthly("total_cost")
    for column in ("EffectiveCost", "BilledCost", "ListCost", "ContractedCost"):
        assert summed(credits, column, user) == tables.monthly("-credits_free"), column
    free_days = tables.sums(
        "SELECT d.user_id, sum(d.total_cost) FROM rollup.user_daily AS d WHERE d.date >= %(month)s "
        "AND d.date < %(end)s AND (SELECT mode FROM rollup.billing_modes AS b "
        "WHERE b.user_id = d.user_id AND b.valid_from <= d.date "
        "ORDER BY b.valid_from DESC LIMIT 1) = 'free' GROUP BY 1"
    )
    paid = {key: amount - free_days.get(key, 0) for key, amount in tables.monthly("total_cost").items()}
    assert summed(costs, "EffectiveCost", user) == {key: amount for key, amount in paid.items() if amount}
    assert summed(lines, "BilledCost", user) == tables.monthly("amount_due + amount_reported")
    for column, amount in PAID.items():
        assert summed(lines, column, user) == tables.monthly(amount), column
    drawn = tables.sums(
        "SELECT d.user_id, u.date, -sum(d.free) FROM rollup.credit_draws AS d JOIN usage_daily AS u "
        "ON u.id = d.usage_daily_id AND u.user_id = d.user_id "
        "WHERE d.usage_date >= %(month)s AND d.usage_date < %(end)s GROUP BY 1, 2"
    )
    assert summed(credits, "EffectiveCost", lambda line: cell(line)[:2]) == drawn
    check_prices(usage)


def check_prices(usage: Iterable[Line]) -> None:
    """Asserts that unit price × quantity is the cost, as far as costs are rounded."""
    for line in usage:
        for cost in ("List", "Contracted"):
            with localcontext(prec=60):
                exact = line[f"{cost}UnitPrice"] * line["PricingQuantity"]
                off = abs(exact - line[f"{cost}Cost"])
            # Each usage row is rounded, and quantities have 18 decimals.
            assert off <= Decimal("1e-9") + line[f"{cost}UnitPrice"] * Decimal("1e-18"), line


def list_costs(world: World, options: Options, month: date, last: date, mode: str) -> Sums:
    """What each user, day and cluster costs by the rate card alone."""
    by_card = World(world.rows, world.columns)
    sums: Sums = defaultdict(Decimal)
    rows = accepted(month, last, by_card, options, mode)
    for of, some in grouped(rows, lambda row: str(row.user_id)).items():
        for priced in price_user(some, by_card, options, mode):
            cluster = None if priced.row.cluster_id is None else str(priced.row.cluster_id)
            sums[of, priced.day, cluster] += shown(total(priced.charges.values()))
    return {key: amount for key, amount in sums.items() if amount}


def read_world(url: str, columns: frozenset[str]) -> World:
    """The usage rows of a database."""
    with psycopg.connect(url, row_factory=dict_row) as link:
        names = ", ".join(sorted(columns))
        text = f"SELECT id, user_id, date, hopsworks_cluster_id, total_cost, {names} FROM usage_daily"
        found = link.execute(text + " WHERE isfinite(date)").fetchall()
    rows = (
        Row(
            row["id"],
            row["user_id"],
            row["date"],
            row["hopsworks_cluster_id"],
            {name: None if row[name] is None else Decimal(row[name]) for name in columns},
            row["total_cost"],
        )
        for row in found
    )
    return World(tuple(rows), columns)

"""The rows of a FOCUS file: usage, adjustments and free credits of some users of a month, and its corrections.

Amounts are units of 10^-10 here. ``focus_columns`` makes the columns of the file from them.
"""

from collections.abc import Sequence

import polars as pl

from jobs.domain.fixed_point_columns import int128
from jobs.domain.schemas import FREE, Schema
from jobs.domain.tables import USER_DAY
from jobs.postgres.run_scope import RunScope
from jobs.reports.focus_charges import list_charges
from jobs.reports.focus_columns import COSTS, PAYMENTS
from jobs.reports.rated_month import RatedUsers
from jobs.rollups.sums import PAYMENT_SUMS

AMOUNTS = (*COSTS, *PAYMENTS)
ROWS: Schema = {
    "category": pl.String,
    "charge_class": pl.String,
    "text": pl.String,
    "user_id": pl.String,
    "cluster_id": pl.UInt128,
    "first": pl.Date,
    "last": pl.Date,
    "line": pl.Int64,
    "override_id": pl.String,
    "quantity": pl.Int128,
    **dict.fromkeys(("pricing_quantity", "list_price", "contracted_price"), pl.Int128),
    **dict.fromkeys(AMOUNTS, pl.Int128),
}
"""Rows of the file before they get its columns.

- ``text``: the description; null for usage, which is described by its tier
- ``first``, ``last``: the days of the charge
- ``line``: the tier's line in the rate card, null where there is none; and so on as in focus_charges.list_charges
"""
ADJUSTMENT = "Recorded cost less the charges by the rate card"
CREDIT = "Free credits"
PAYMENT_AS_STORED = "How the month was paid when it was last computed, less how its usage is marked now"
_BILLED = ("free", "amount_due", "amount_reported")
"""The payments that are in BilledCost. Free credits are taken off again by rows of their own."""


def list_rows(scope: RunScope, rated: RatedUsers) -> pl.DataFrame:
    """Returns the rows (ROWS) of users whose month is priced again, by user, day, cluster and tier."""
    cells = _sum_cells(rated)
    charges = list_charges(scope, rated).with_columns(pl.col("user_id").cast(pl.String), category=pl.lit("Usage"))
    rows = _share_payments(pl.concat([charges, _list_adjustments(cells)], how="diagonal"), cells)
    days = {"first": pl.col("date"), "last": pl.col("date")}
    usage = complete(rows.with_columns(**days))
    credits = rows.filter(pl.col("free") != 0).select(
        *("user_id", "cluster_id", "line"),
        *((int128(0) - pl.col("free")).alias(name) for name in COSTS),
        category=pl.lit("Credit"),
        text=pl.lit(CREDIT),
        **days,
    )
    return pl.concat([usage, complete(credits), _list_stored_payments(scope, rated)])


def complete(rows: pl.DataFrame) -> pl.DataFrame:
    """Returns ``rows`` with all columns of ROWS: amounts that are missing are 0, other columns null."""
    nothing = {name: int128(0) if name in AMOUNTS else pl.lit(None, dtype=kind) for name, kind in ROWS.items()}
    return rows.select(pl.col(name) if name in rows.columns else nothing[name].alias(name) for name in ROWS)


def _sum_cells(rated: RatedUsers) -> pl.DataFrame:
    """The costs and payments of each user, day and cluster, sorted by these."""
    effective = pl.when(pl.col("class") == FREE).then(int128(0)).otherwise(pl.col("adjustment_cost"))
    return (
        rated.rows.lazy()
        .with_columns(effective_cost=effective)
        .group_by(USER_DAY)
        .agg(pl.col("total_cost", "adjustment_cost", "effective_cost", "free", *PAYMENTS).cast(pl.Int128).sum())
        .with_columns(pl.col("user_id").cast(pl.String))
        .sort("user_id", "date", "cluster_id", nulls_last=True)
        .collect()
    )


def _list_adjustments(cells: pl.DataFrame) -> pl.DataFrame:
    """A row for the adjustment_cost of each cell; one of 0, too, for what was paid where there is no cost any more."""
    is_paid = pl.any_horizontal(pl.col(name) != 0 for name in ("free", *PAYMENTS))
    return cells.filter((pl.col("adjustment_cost") != 0) | ((pl.col("total_cost") == 0) & is_paid)).select(
        *USER_DAY,
        "effective_cost",
        list_cost=pl.col("adjustment_cost"),
        contracted_cost=pl.col("adjustment_cost"),
        category=pl.lit("Adjustment"),
        text=pl.lit(ADJUSTMENT),
    )


def _share_payments(rows: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """Adds to each row its share of the payments of its cell, and ``billed_cost``; sorts the rows."""
    rows = rows.sort("user_id", "date", "cluster_id", "line", "override_id", nulls_last=True)
    sizes = rows.group_by(USER_DAY, maintain_order=True).len()
    paid = sizes.join(cells, on=USER_DAY, how="left", nulls_equal=True, maintain_order="left")
    costs, counts = rows["contracted_cost"].to_list(), sizes["len"].to_list()
    shares = [
        pl.Series(name, share_columns(paid[name].to_list(), counts, costs), dtype=pl.Int128)
        if (paid[name] != 0).any()
        else pl.zeros(rows.height, dtype=pl.Int128, eager=True).alias(name)
        for name in ("free", *PAYMENTS)
    ]
    return rows.with_columns(shares).with_columns(billed_cost=pl.sum_horizontal(_BILLED))


def _list_stored_payments(scope: RunScope, rated: RatedUsers) -> pl.DataFrame:
    """A row for each user whose month was paid otherwise than its rows are marked now.

    user_monthly keeps how a closed month was paid when it closed. A row may be reported to Stripe later, and the
    settings may have other decimals now.
    """
    names = {payment: column for column, payment in _stored_columns().items()}
    now = rated.rows.group_by(pl.col("user_id").cast(pl.String)).agg(
        pl.col(name).cast(pl.Int128).sum() for name in names
    )
    stored = rated.inputs.stored_months.select("user_id", **{name: pl.col(column) for name, column in names.items()})
    # Months of the first version have no such amounts.
    both = stored.filter(pl.col("uncovered").is_not_null()).join(now, on="user_id", how="left", suffix="_now")
    less = both.select("user_id", *(pl.col(name) - pl.col(f"{name}_now").fill_null(0) for name in names))
    window = scope.window
    found = less.filter(pl.any_horizontal(pl.col(name) != 0 for name in names)).with_columns(
        category=pl.lit("Adjustment"),
        text=pl.lit(PAYMENT_AS_STORED),
        billed_cost=pl.sum_horizontal(_BILLED),
        first=pl.lit(window.first),
        last=pl.lit(window.last),
    )
    returned = found.filter(pl.col("free") != 0).with_columns(
        *((int128(0) - pl.col("free")).alias(name) for name in COSTS), category=pl.lit("Credit")
    )
    return pl.concat([complete(found), complete(returned.drop(PAYMENTS))])


def _stored_columns() -> dict[str, str]:
    """The columns of user_monthly that say how a month is paid, each with its name in rated rows."""
    names = {column: column for column in PAYMENT_SUMS if column != "credits_deducted"}
    return names | {"credits_free": "free", "credits_purchased": "purchased"}


def list_corrections(scope: RunScope, corrections: pl.DataFrame) -> pl.DataFrame:
    """Returns the rows (focus_rows.ROWS) of ``corrections`` (`export --by correction`) of the month of ``scope``.

    The usage of the file is that of the tables, with every correction in it. So each correction has two rows: one with
    ChargeClass Correction, and one without that takes the same amounts off again. The rows without ChargeClass then add
    up to the month as it was closed, those with it to its corrections, and all together to the tables.
    """
    change = {name: _change(name) for name in ("total", "uncovered", "amount_due", "amount_reported")}
    cause = pl.format("correction by run {} ({})", "run_id", "cause")
    reason = pl.when(pl.col("reason").fill_null("") != "").then(pl.lit(": ") + pl.col("reason")).otherwise(pl.lit(""))
    corrected = corrections.select(
        "user_id",
        category=pl.lit("Adjustment"),
        charge_class=pl.lit("Correction"),
        text=pl.lit("The ") + cause + reason,
        first=pl.lit(scope.window.first),
        last=pl.lit(scope.window.last),
        list_cost=change["total"],
        contracted_cost=change["total"],
        effective_cost=pl.when(pl.col("billing_mode") == "free").then(int128(0)).otherwise(change["total"]),
        billed_cost=change["amount_due"] + change["amount_reported"],
        uncovered=change["uncovered"],
        amount_due=change["amount_due"],
        amount_reported=change["amount_reported"],
    )
    rows = complete(corrected)
    before = rows.filter(pl.any_horizontal(pl.col(name) != 0 for name in AMOUNTS)).with_columns(
        *((int128(0) - pl.col(name)).alias(name) for name in AMOUNTS),
        charge_class=pl.lit(None, dtype=pl.String),
        text=pl.lit("The month before the c") + pl.col("text").str.slice(len("The c")),
    )
    return pl.concat([rows, before]).sort("user_id", maintain_order=True)


def _change(name: str) -> pl.Expr:
    """The new amount less the old one, in units of 10^-10; 0 where these were not stored."""
    new, old = (pl.col(f"{when}_{name}").to_physical().cast(pl.Int128) for when in ("new", "old"))
    return (new - old).fill_null(int128(0))


def share_by_cost(amount: int, costs: Sequence[int]) -> list[int]:
    """Returns a share of ``amount`` for each of ``costs``, in proportion to it; the shares add up to ``amount``.

    Each share is rounded down; the units that are left go to the largest remainders, the first one where these are
    equal. Where the costs add up to 0, the last one gets all. A negative cost gets a negative share.
    """
    total = sum(costs)
    if not amount or not costs:
        return [0] * len(costs)
    if amount == total:
        return list(costs)
    if not total:
        return [0] * (len(costs) - 1) + [amount]
    parts = [divmod(amount * cost, total) for cost in costs]
    shares = [quotient for quotient, _ in parts]
    left = amount - sum(shares)
    for n in sorted(range(len(parts)), key=lambda n: abs(parts[n][1]), reverse=True)[:left]:
        shares[n] += 1
    return shares


def share_columns(amounts: Sequence[int], sizes: Sequence[int], costs: Sequence[int]) -> list[int]:
    """Returns ``share_by_cost`` of each of ``amounts`` among its charges, one list for all.

    ``sizes``: how many of ``costs`` belong to each amount, in order.
    """
    shares: list[int] = []
    start = 0
    for amount, size in zip(amounts, sizes, strict=True):
        shares += share_by_cost(amount, costs[start : start + size]) if amount else [0] * size
        start += size
    return shares

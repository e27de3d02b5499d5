"""The schemas of the frames that are passed between packages.

``USAGE``: rows of usage_daily as read, with USAGE_COLUMNS of domain.tables. A usage frame also has one Int64 column per
meter, named after the meter, in units of 10^-10.

- ``recorded``: total_cost as read, in units of 10^-10, null where there is none. In a rated month a run wrote it
- ``deducted``: credits_deducted in units of 10^-10; 0 where there is none, null where the value is not valid
- ``reported``: reported_to_stripe
- ``usage_hash``, ``written_hash``: hashes of the row, computed by the server (jobs.postgres.fingerprints)
"""

import polars as pl

from jobs.domain.fixed_point import PLACES, unscaled
from jobs.domain.tables import USAGE_COLUMNS

Schema = dict[str, pl.DataType | type[pl.DataType]]

_KINDS: Schema = {"uuid": pl.UInt128, "text": pl.String, "date": pl.Date}
USAGE: Schema = {
    **{name: _KINDS[kind] for name, (_, kind) in USAGE_COLUMNS.items()},
    "recorded": pl.Int64,
    "deducted": pl.Int64,
    "reported": pl.Boolean,
    "usage_hash": pl.Int64,
    "written_hash": pl.Int64,
}
USER_AS_CATEGORY = pl.col("user_id").cast(pl.Categorical)
"""user_id as a categorical: four bytes a row, and as fast to sort, join and compare as a number."""
ROW_KEY = ["user_id", "id"]
ROW_ORDER = ("date", "cluster_id", "id")
"""The order of a user's rows, nulls last: it decides which row reaches which tier. A uuid as lower-case text has the
same order as its number."""

OVERRIDES: Schema = {
    "id": pl.String,
    "user_id": pl.String,
    "meter": pl.String,
    "first": pl.Date,
    "last": pl.Date,
    "price": pl.Int64,
    "discount": pl.Int64,
    "rank": pl.Int64,
}
"""One row per price override and meter: the UTC days that it covers, and its price and discount percentage in units of
10^-10. ``rank``: of a user's overrides of one meter, the one with the highest rank applies on a day."""

ACCOUNT_AMOUNTS = ("free_granted", "total_purchased", "free_used", "total_used")
ACCOUNTS: Schema = {"user_id": pl.String, **dict.fromkeys(ACCOUNT_AMOUNTS, pl.Int128)}
"""Rows of user_credits, in units of 10^-10: free credits granted, purchased credits, free credits used (0 where
the account has one counter), and purchased credits used (with one counter: all)."""

DRAWS: Schema = {
    "id": pl.UInt128,
    "user_id": pl.String,
    "date": pl.Date,
    "imported": pl.Boolean,
    "free": pl.Int128,
    "purchased": pl.Int128,
}
"""Rows of rollup.credit_draws: id is usage_daily_id, date usage_date; amounts are signed."""

DRAWN = pl.col("free") + pl.col("purchased")
"""What is drawn in all."""
IS_DRAWN = (pl.col("free") != 0) | (pl.col("purchased") != 0)
"""Whether anything is drawn, of either kind: one may be given back while the other is taken."""

BILLING_MODE_ENTRIES: Schema = {"user_id": pl.String, "valid_from": pl.Date, "mode": pl.String}
"""Rows of rollup.billing_modes: the billing mode of a user from a day on."""

MISMATCHED: Schema = {
    "id": pl.UInt128,
    "user_id": pl.Categorical,
    "date": pl.Date,
    "deducted": pl.Int64,
    "drawn": pl.Int128,
    "foreign": pl.Boolean,
    "empty": pl.Boolean,
    "elsewhere": pl.Int128,
}
"""Rows of usage_daily whose credits_deducted differs from the draws in the ledger (amounts in units of 10^-10).

- ``drawn``: the draws of the present user on the row, in all months
- ``elsewhere``: the part of ``drawn`` in closed months outside the window; the row was moved from there
- ``foreign``: another program wrote credits_deducted: it is neither ``drawn`` nor the draws of another user or of all
  users on the row
- ``empty``: credits_deducted is out of date: 0 or null although the present user has draws on the row, or an amount of
  draws that were reversed since (the row belonged to another user for a while)
"""
IS_UNEXPLAINED = pl.col("foreign") | pl.col("empty")
"""Whether a row of MISMATCHED is not explained by the ledger."""

PAYABLE: Schema = {
    **{name: USAGE[name] for name in USAGE_COLUMNS},
    "month": pl.Date,
    "settled": pl.Int128,
    "open": pl.Int128,
    "deducted": pl.Int128,
    "drawn": pl.Int128,
    "ledger_hash": pl.Int64,
    "written_hash": pl.Int64,
}
"""Debts that credit can settle now (amounts in units of 10^-10).

- ``settled``, ``open``: the settled and the open part
- ``deducted``: credits_deducted of its row (null: not a number, or no such column)
- ``drawn``: the sum of its ledger entries
- ``ledger_hash``, ``written_hash``: the row's written_hash with ``drawn``, and with the actual value
"""


def usage_schema(meters: list[str]) -> Schema:
    """The schema of a usage frame with columns for ``meters``."""
    return USAGE | dict.fromkeys(meters, pl.Int64)


def in_decimals(column: str) -> pl.Expr:
    """A column in units of 10^-10 as polars decimals."""
    # pl.lit(Decimal) would import numpy, which takes a tenth of a second.
    unit = pl.lit(f"{unscaled(1):f}").cast(pl.Decimal(38, PLACES))
    return pl.col(column).cast(pl.Decimal(38, 0)) * unit


PREPAID, EARLY, FREE, DUE = range(4)
"""The payment classes of a row (credits.payment_class), the values of its column ``class``: prepaid, prepaid before the
first day that draws credits, free, and postpaid."""

"""The columns of the frames that travel between the rooms, each named once.

``USAGE`` rows are usage_daily rows as read; besides these a frame has one Int64 column per meter, named after
the meter, in units of 10^-10. ``recorded`` is total_cost in that unit, null where the source has none.
``deducted`` is credits_deducted, 0 where there is none, null where it is no number of ours; ``reported`` is
reported_to_stripe. ``usage_hash`` and ``written_hash`` are the server's hashes of the row (jobs.postgres.fingerprints).
"""

import polars as pl

from jobs.domain.fixed_point import PLACES, unscaled

USAGE: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.UInt128,
    "user_id": pl.String,
    "date": pl.Date,
    "cluster_id": pl.UInt128,
    "recorded": pl.Int64,
    "deducted": pl.Int64,
    "reported": pl.Boolean,
    "usage_hash": pl.Int64,
    "written_hash": pl.Int64,
}
CODED = pl.col("user_id").cast(pl.Categorical)
"""As usage is held and computed: four bytes for a user, which sort, join and compare as fast as numbers do."""
ROW_ORDER = ("date", "cluster_id", "id")
"""DESIGN section 2. A uuid as lower-case text sorts as its number does; nulls last."""

OVERRIDES: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "user_id": pl.String,
    "meter": pl.String,
    "first": pl.Date,
    "last": pl.Date,
    "price": pl.Int64,
    "discount": pl.Int64,
    "rank": pl.Int64,
}
"""One row per override and meter: the UTC days that it touches, its price and discount percentage in units of
10^-10, and its place among overrides of one user and meter: the highest rank of a day holds."""

ACCOUNTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "user_id": pl.String,
    "granted": pl.Int128,
    "bought": pl.Int128,
    "free_used": pl.Int128,
    "used": pl.Int128,
}
"""Rows of user_credits: free credits granted and used, credits bought and used, in units of 10^-10."""

NUMBERS = tuple(ACCOUNTS)[1:]
"""What an account says, besides whose it is."""

DRAWS: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.UInt128,
    "user_id": pl.String,
    "date": pl.Date,
    "imported": pl.Boolean,
    "free": pl.Int128,
    "purchased": pl.Int128,
}
"""Rows of rollup.credit_draws: id is usage_daily_id, date usage_date; amounts are signed."""

MODES: dict[str, pl.DataType | type[pl.DataType]] = {"user_id": pl.String, "valid_from": pl.Date, "mode": pl.String}
"""Rows of rollup.billing_modes: how a user pays from a day on."""


def usage_schema(meters: list[str]) -> dict[str, pl.DataType | type[pl.DataType]]:
    """The schema of a frame of usage with these meters."""
    return USAGE | dict.fromkeys(meters, pl.Int64)


def in_decimals(column: str) -> pl.Expr:
    """A column of units of 10^-10 as the decimals that it counts."""
    # A literal made of a Decimal would import numpy, which takes a tenth of a second.
    unit = pl.lit(f"{unscaled(1):f}").cast(pl.Decimal(38, PLACES))
    return pl.col(column).cast(pl.Decimal(38, 0)) * unit


PREPAID, EARLY, FREE, DUE = range(4)
"""Payment classes of a row (credits.payment_class): what its column ``class`` holds."""

"""The columns of the frames that travel between the rooms, each named once.

``USAGE`` rows are usage_daily rows as read; besides these a frame has one Int64 column per meter, named after
the meter, in units of 10^-10. ``recorded`` is total_cost in that unit, null where the source has none.
``version`` is the row's xmin, by which a write notices that the row has changed since it was read.
"""

import polars as pl

USAGE: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.UInt128,
    "user_id": pl.String,
    "date": pl.Date,
    "cluster_id": pl.UInt128,
    "recorded": pl.Int64,
    "version": pl.Int64,
}
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


def usage_schema(meters: list[str]) -> dict[str, pl.DataType | type[pl.DataType]]:
    """The schema of a frame of usage with these meters."""
    return USAGE | dict.fromkeys(meters, pl.Int64)


def cost_of(meter: str) -> str:
    """The column that holds what ``meter`` costs."""
    return f"{meter}_cost"

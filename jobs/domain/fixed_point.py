"""The one unit of quantities and amounts inside the job: integers that count 10^-10.

``numeric(38,10)`` is what the roll-up tables hold and what connectorx can carry, so nothing finer ever
exists; an integer of that unit adds, compares and divides exactly, in polars as in Python.
"""

from decimal import Decimal, localcontext

PLACES = 10
ONE = 10**PLACES
MOST_DIGITS = 28
"""Digits before the point in numeric(38,10)."""


def scaled(value: Decimal) -> int:
    """The integer count of 10^-10 in ``value``; ValueError where it is not finite, too large, or has over 10 places."""
    if not value.is_finite():
        raise ValueError("is not a finite number")
    # Before any arithmetic: 1e-9999999 would underflow to 0, and 1e999999999 fill the memory.
    if value and value.adjusted() < -PLACES:
        raise ValueError(f"has more than {PLACES} decimals")
    if value.adjusted() >= MOST_DIGITS:
        raise ValueError("is too large")
    with localcontext(prec=80):
        units = value * ONE
        if units != units.to_integral_value():
            raise ValueError(f"has more than {PLACES} decimals")
        return int(units)


def unscaled(units: int) -> Decimal:
    """The Decimal with ten places that ``units`` counts."""
    with localcontext(prec=80):
        return Decimal(units).scaleb(-PLACES)

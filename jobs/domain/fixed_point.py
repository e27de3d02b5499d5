"""Fixed-point numbers: inside the job every quantity and amount is an integer that counts units of 10^-10.

The roll-up tables store ``numeric(38,10)``, and connectorx can read that type, so no value has more decimals.
Integers add, compare and divide exactly, in polars as in Python.
"""

from decimal import Decimal, localcontext

PLACES = 10
ONE = 10**PLACES
MOST_DIGITS = 28
"""Digits before the decimal point in numeric(38,10)."""


def scaled(value: Decimal) -> int:
    """``value`` in units of 10^-10. Raises ValueError if it is not finite, too large, or has over 10 decimals."""
    if not value.is_finite():
        raise ValueError("is not a finite number")
    # These checks come before any arithmetic: 1e-9999999 would underflow to 0, and 1e999999999 would fill the memory.
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
    """``units`` (of 10^-10) as a Decimal with ten decimals."""
    with localcontext(prec=80):
        return Decimal(units).scaleb(-PLACES)

"""Amounts as a customer reads them: rounded so that the lines of a table add up to its total, exactly as shown.

Inside, amounts are integers in units of 10^-10. An ``Amount`` keeps the exact one beside the text that is shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from jobs.domain.fixed_point import PLACES, unscaled

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of money: ``exact``, with ten decimals, and the text that is ``shown``."""

    exact: Decimal
    shown: str

    @property
    def rounded(self) -> Decimal:
        """The amount that is shown."""
        return Decimal(self.shown.replace(",", "").replace(MINUS, "-"))

    @property
    def value(self) -> str:
        """The exact amount for programs that read the page."""
        return f"{self.exact:f}"


def round_units(units: int, places: int) -> int:
    """Returns ``units`` rounded to ``places`` decimals, half to even."""
    step: int = 10 ** (PLACES - places)
    floor, rest = divmod(units, step)
    up = 2 * rest > step or (2 * rest == step and floor % 2 == 1)
    return (floor + up) * step


def quantize_parts(parts: Iterable[int], places: int) -> list[int]:
    """Returns each part rounded so that all of them add up to their rounded sum: the rule by which amounts are drawn.

    A part is round(C_i) − round(C_i−1), where C_i is the cumulative sum.
    """
    shown, exact, before = [], 0, 0
    for part in parts:
        exact += part
        after = round_units(exact, places)
        shown.append(after - before)
        before = after
    return shown


def show_parts(parts: Sequence[int], places: int) -> list[Amount]:
    """Returns the parts of a sum as they are shown with ``places`` decimals (``quantize_parts``)."""
    shown = quantize_parts(parts, places)
    return [Amount(unscaled(exact), format_units(units, places)) for exact, units in zip(parts, shown, strict=True)]


def show_sum(parts: Sequence[int], places: int) -> Amount:
    """Returns the sum of ``parts`` as it is shown with ``places`` decimals."""
    return show_parts([sum(parts)], places)[0]


def show_exactly(values: Sequence[int], places: int) -> list[Amount]:
    """Returns exact amounts, with ``places`` decimals or as many more as one of them needs."""
    places = next((n for n in range(places, PLACES) if not any(v % 10 ** (PLACES - n) for v in values)), PLACES)
    return [Amount(unscaled(value), format_units(value, places)) for value in values]


def format_units(units: int, places: int) -> str:
    """Returns ``units``, a multiple of the last decimal, as text with a minus sign and groups of three digits."""
    text = f"{abs(unscaled(units)):,.{places}f}"
    return f"{MINUS}{text}" if units < 0 else text


def format_number(value: Decimal, most: int = PLACES, least: int = 0) -> str:
    """Returns a quantity or a price with groups of three digits, at most ``most`` decimals, without needless zeros."""
    whole, _, decimals = f"{value:,.{most}f}".partition(".")
    decimals = decimals.rstrip("0").ljust(least, "0")
    return f"{whole}.{decimals}" if decimals else whole

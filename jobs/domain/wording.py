"""Text: names and texts that are valid, and numbers and lists in messages."""

from collections.abc import Collection
from decimal import Decimal
from typing import Any

from jobs.domain.fixed_point import PLACES

MOST_BYTES = 63
"""PostgreSQL truncates longer names."""


def count(number: int, noun: str) -> str:
    """A number and what it counts, such as 1 row or 2 rows."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def name_some(names: Collection[str], most: int = 3) -> str:
    """The first names of a sorted collection, and how many more there are."""
    some = ", ".join(list(names)[:most])
    return some + (f" and {len(names) - most:,} more" if len(names) > most else "")


def format_value(value: object) -> str:
    """The value as text; an amount without trailing zeros."""
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    return text.rstrip("0").rstrip(".") if isinstance(value, Decimal) and "." in text else text


def format_figure(value: Decimal | int | str | None) -> str:
    """A cell of a table: digits in groups of three, an amount with two decimals; empty for None."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:z,.2f}" if isinstance(value, Decimal) else value or ""


def format_amounts(*values: Decimal) -> list[str]:
    """The amounts with two decimals each, or with as many as it takes to tell different ones apart."""
    texts = ([f"{value:z,.{places}f}" for value in values] for places in range(2, PLACES + 1))
    return next((shown for shown in texts if len(set(shown)) == len(set(values))), [f"{value:,f}" for value in values])


def format_pair(*values: Any, none: str = "none") -> list[str]:
    """Two values as text; two amounts with as many decimals as tell them apart."""
    if all(isinstance(value, Decimal) for value in values):
        return format_amounts(*values)
    return [none if value is None else format_figure(value) for value in values]


def is_name(text: str) -> bool:
    """Whether ``text`` is a name that the job accepts for a schema or a role.

    It must be printable and at most MOST_BYTES long. A $ is not allowed: it could end the dollar quotes of a DO block.
    """
    return text.isprintable() and "$" not in text and 0 < len(text.encode()) <= MOST_BYTES


def is_text(text: str) -> bool:
    """Whether ``text``, from the environment or the command line, is valid UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

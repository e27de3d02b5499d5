"""Numerics as bad as PostgreSQL can hold them, from a seed; and what is to be read of each, in plain Python."""

import random
from collections.abc import Callable, Iterator
from decimal import ROUND_HALF_UP, Context, Decimal

MOST = Decimal(10**8)
"""max_quantity, where the settings do not say otherwise."""
DEDUCTED = Decimal(9 * 10**8)
"""What credits_deducted must be below."""
EXACT = Context(prec=200_000, rounding=ROUND_HALF_UP)
SPECIAL = ("NaN", "nan", "Infinity", "-Infinity", "inf", "+Infinity", "-0", "-0.000", "-0e10", "0", "0.0", "1e-1000")
Random = random.Random


def numerics(count: int, seed: int) -> Iterator[str | None]:
    """As many texts that PostgreSQL reads as a numeric, and nulls between them."""
    source = Random(seed)
    kinds = [kind for kind, weight in KINDS.items() for _ in range(weight)]
    for _ in range(count):
        yield source.choice(kinds)(source)


def units(text: str | None) -> int:
    """A quantity in units of 10^-10, -1 where it cannot be taken; null is none at all."""
    value = Decimal(text or 0)
    return _rounded(value) if value.is_finite() and 0 <= value <= MOST else -1


def cost(text: str | None) -> int | None:
    return None if text is None else units(text)


def deducted(text: str | None) -> int | None:
    """credits_deducted: 0 where there is none, null where it is no number of ours."""
    value = Decimal(text or 0)
    return _rounded(value) if value.is_finite() and abs(value) < DEDUCTED else None


def _rounded(value: Decimal) -> int:
    """Half away from zero, as round(numeric) does."""
    return int(EXACT.scaleb(EXACT.quantize(value, Decimal("1e-10")), 10))


def _digits(source: Random, count: int) -> str:
    return "".join(source.choices("0123456789", k=count))


def _fine(source: Random) -> str:
    """In range, to 30 decimals."""
    return f"{source.randrange(10 ** source.randrange(1, 9))}.{_digits(source, source.randrange(31))}0"


def _wide(source: Random) -> str:
    """38 digits, the point anywhere among them."""
    digits, point = _digits(source, 38), source.randrange(39)
    return f"{source.choice(('', '', '-'))}{digits[:point]}.{digits[point:]}"


def _edge(source: Random) -> str:
    """At, or next to, the middle between two units."""
    middle = Decimal(source.randrange(10 ** source.randrange(1, 18)) * 10 + 5).scaleb(-11)
    beside = source.choice([Decimal(0), Decimal("1e-12"), Decimal("-1e-12"), Decimal("1e-20"), Decimal("-1e-20")])
    return format(source.choice((1, 1, 1, -1)) * EXACT.add(middle, beside), "f")


def _limit(source: Random) -> str:
    """At, or next to, a limit."""
    beside = Decimal(source.randrange(-1, 2)).scaleb(-source.randrange(40))
    return format(source.choice((1, 1, -1)) * EXACT.add(source.choice((MOST, DEDUCTED, Decimal(0))), beside), "f")


def _tiny(source: Random) -> str:
    return f"{source.choice(('-', ''))}{source.randrange(1, 10)}e-{source.randrange(1, 60)}"


def _huge(source: Random) -> str:
    """Thousands of digits, before the point or behind it."""
    many = _digits(source, source.randrange(1000, 9000))
    return source.choice((f"1{many}", f"-1{many}", f"{source.randrange(100)}.{many}", f"1{many}.{many}"))


KINDS: dict[Callable[[Random], str | None], int] = {
    _fine: 900,
    _edge: 500,
    _wide: 200,
    _limit: 150,
    _tiny: 100,
    lambda source: source.choice(SPECIAL): 100,
    lambda _: None: 48,
    _huge: 2,
}
"""How often each comes, among 2,000."""

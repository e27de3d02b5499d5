"""The tokens of the shrink check and the change check: a refusal prints one, `--allow-shrink TOKEN` confirms it.

A token contains the exact figures that it allows. So a token that stays in a crontab cannot allow a later, different
change.
"""

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_UP, Decimal, localcontext
from hashlib import sha256

from jobs.domain.fixed_point import unscaled


def with_checksum(text: str) -> str:
    """``text`` with a checksum appended, so that a token cannot be mistyped or made up by mistake."""
    return f"{text}:{sha256(f'usage-jobs {text}'.encode()).hexdigest()[:6]}"


def _parse(token: str) -> list[str]:
    """The parts of ``token``, without its checksum. Raises ValueError for a text that no refusal has printed."""
    text, _, _ = token.rpartition(":")
    if with_checksum(text) != token:
        raise ValueError(f"not a token: {token!r}")
    return text.split(":")


def percent(share: Decimal) -> str:
    """A share as text: 0.2 becomes 20%."""
    return f"{(share * 100).normalize():f}%"


@dataclass(frozen=True, slots=True)
class Shrink:
    """The counts of ``rows`` and ``users`` that are left of a month (its first day)."""

    month: date
    rows: int
    users: int

    @classmethod
    def parse(cls, token: str) -> "Shrink":
        """The value that ``token`` encodes. Raises ValueError for another text."""
        month, rows, users = _parse(token)
        return cls(date.fromisoformat(f"{month}-01"), int(rows), int(users))

    @property
    def token(self) -> str:
        """The token that allows exactly this, and nothing larger."""
        return with_checksum(f"{self.month:%Y-%m}:{self.rows}:{self.users}")

    def allows(self, other: "Shrink") -> bool:
        """Whether this token allows ``other``: the same month, and no fewer rows and users are left."""
        return self.month == other.month and self.rows <= other.rows and self.users <= other.users


@dataclass(frozen=True, slots=True)
class LargeChange:
    """A large change of one month or one new day.

    - ``day``: the first day of the month; for the kind ``day`` the new day itself
    - ``kind``: cost or draws of a month's covered days; day (the cost of a new day); accounts or overrides (deleted)
    - ``more``, ``less``: the sums of all increases and of all decreases, in the currency or in rows
    """

    day: date
    kind: str
    more: Decimal
    less: Decimal = Decimal(0)

    @classmethod
    def parse(cls, token: str) -> "LargeChange":
        """The value that ``token`` encodes. Raises ValueError for another text."""
        day, kind, more, less = _parse(token)
        return cls(date.fromisoformat(day), kind, Decimal(more), Decimal(less))

    @property
    def token(self) -> str:
        """The token that allows exactly this, and nothing larger."""
        return with_checksum(f"{self.day}:{self.kind}:{self.more:f}:{self.less:f}")

    def allows(self, other: "LargeChange") -> bool:
        """Whether this token allows ``other``: the same kind and month (or day), and no larger amounts."""
        same = (self.day, self.kind) == (other.day, other.kind)
        return same and other.more <= self.more and other.less <= self.less


def round_up(units: int) -> Decimal:
    """An amount in units of 10^-10 with two decimals, rounded up, so that a token made of it allows the amount."""
    with localcontext(prec=80):
        return unscaled(units).quantize(Decimal("0.01"), ROUND_UP)

"""The tokens of the shrink check and the change check: a refusal prints one, `--allow-shrink TOKEN` confirms it.

A token contains the exact figures that it allows. So a token that stays in a crontab cannot allow a later, different
change.
"""

import re
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_UP, Decimal, localcontext
from hashlib import sha256

from jobs.domain.fixed_point import unscaled

SHRINK_FORM = re.compile(r"(\d{4}-(?:0[1-9]|1[0-2])):(\d+):(\d+):([0-9a-f]{6})")


def with_checksum(text: str) -> str:
    """``text`` with a checksum appended, so that a token cannot be mistyped or made up by mistake."""
    return f"{text}:{sha256(f'usage-jobs {text}'.encode()).hexdigest()[:6]}"


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
        """The value that ``token`` encodes. Raises ValueError for a text that no refusal has printed."""
        found = SHRINK_FORM.fullmatch(token)
        made = None if found is None else cls(date.fromisoformat(f"{found[1]}-01"), int(found[2]), int(found[3]))
        if made is None or made.token != token:
            raise ValueError(f"not a token: {token!r}")
        return made

    @property
    def token(self) -> str:
        """The token that allows exactly this, and nothing larger."""
        return with_checksum(f"{self.month:%Y-%m}:{self.rows}:{self.users}")

    def allows(self, other: "Shrink") -> bool:
        """Whether this token allows ``other``: the same month, and no fewer rows and users are left."""
        return self.month == other.month and self.rows <= other.rows and self.users <= other.users


KINDS = ("cost", "draws", "day", "accounts", "overrides")
"""Cost or draws of a month's covered days; the cost of a new day; deleted accounts or price overrides."""
NUMBER = r"\d{1,30}(?:\.\d{2})?"
CHANGE_FORM = re.compile(rf"(\d{{4}}-\d\d-\d\d):({'|'.join(KINDS)}):({NUMBER}):({NUMBER}):([0-9a-f]{{6}})")


@dataclass(frozen=True, slots=True)
class LargeChange:
    """A large change of one month or one new day.

    ``day``: the first day of the month; for the kind ``day`` the new day itself. ``kind``: one of KINDS. ``more``,
    ``less``: the sums of all increases and of all decreases, in the currency (cost, draws, day) or in rows (accounts,
    overrides).
    """

    day: date
    kind: str
    more: Decimal
    less: Decimal = Decimal(0)

    @classmethod
    def parse(cls, token: str) -> "LargeChange":
        """The value that ``token`` encodes. Raises ValueError for a text that no refusal has printed."""
        found = CHANGE_FORM.fullmatch(token)
        if found is not None:
            made = cls(date.fromisoformat(found[1]), found[2], Decimal(found[3]), Decimal(found[4]))
            if made.token == token:
                return made
        raise ValueError(f"not a token: {token!r}")

    @property
    def token(self) -> str:
        """The token that allows exactly this, and nothing larger."""
        return with_checksum(f"{self.day}:{self.kind}:{self.more:f}:{self.less:f}")

    @property
    def size(self) -> Decimal:
        """The larger of ``more`` and ``less``: an amount that moves from one user to another counts once."""
        return max(self.more, self.less)

    def allows(self, other: "LargeChange") -> bool:
        """Whether this token allows ``other``: the same kind and month (or day), and no larger amounts."""
        same = (self.day, self.kind) == (other.day, other.kind)
        return same and other.more <= self.more and other.less <= self.less


def round_up(units: int) -> Decimal:
    """An amount in units of 10^-10 with two decimals, rounded up, so that a token made of it allows the amount."""
    with localcontext(prec=80):
        return unscaled(units).quantize(Decimal("0.01"), ROUND_UP)

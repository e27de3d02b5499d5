"""Months that shrink and large changes that a person has to look at first, and the tokens that refusals print.

A token names what it lets pass: in a crontab it would let nothing else pass.
"""

import re
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_UP, Decimal, localcontext
from hashlib import sha256

from jobs.domain.fixed_point import unscaled

SHRINK_FORM = re.compile(r"(\d{4}-(?:0[1-9]|1[0-2])):(\d+):(\d+):([0-9a-f]{6})")


def signed(text: str) -> str:
    """A token of ``text``: with a check that nobody writes by hand."""
    return f"{text}:{sha256(f'usage-jobs {text}'.encode()).hexdigest()[:6]}"


def percent(share: Decimal) -> str:
    """A share of a setting, as it is written there."""
    return f"{(share * 100).normalize():f}%"


@dataclass(frozen=True, slots=True)
class Shrink:
    """What is left of a month (its first day): so many ``rows`` and ``users``."""

    month: date
    rows: int
    users: int

    @classmethod
    def parse(cls, token: str) -> "Shrink":
        """What ``token`` stands for. Raises ValueError for a text that no refusal has printed."""
        found = SHRINK_FORM.fullmatch(token)
        made = None if found is None else cls(date.fromisoformat(f"{found[1]}-01"), int(found[2]), int(found[3]))
        if made is None or made.token != token:
            raise ValueError(f"not a token: {token!r}")
        return made

    @property
    def token(self) -> str:
        """It holds for what it names alone: in a crontab it would let nothing else pass."""
        return signed(f"{self.month:%Y-%m}:{self.rows}:{self.users}")

    def covers(self, other: "Shrink") -> bool:
        """Whether no more of that month has vanished than was looked at."""
        return self.month == other.month and self.rows <= other.rows and self.users <= other.users


KINDS = ("cost", "draws", "day", "accounts", "overrides")
"""Cost and draws of a month's covered days; the cost of a new day; accounts and overrides that are gone."""
NUMBER = r"\d{1,30}(?:\.\d{2})?"
CHANGE_FORM = re.compile(rf"(\d{{4}}-\d\d-\d\d):({'|'.join(KINDS)}):({NUMBER}):({NUMBER}):([0-9a-f]{{6}})")


@dataclass(frozen=True, slots=True)
class LargeChange:
    """What changes: ``more``, ``less`` are amounts, or numbers of rows. ``day``: the first of the month, or the new
    day itself."""

    day: date
    kind: str
    more: Decimal
    less: Decimal = Decimal(0)

    @classmethod
    def parse(cls, token: str) -> "LargeChange":
        """What ``token`` stands for. Raises ValueError for a text that no refusal has printed."""
        found = CHANGE_FORM.fullmatch(token)
        if found is not None:
            made = cls(date.fromisoformat(found[1]), found[2], Decimal(found[3]), Decimal(found[4]))
            if made.token == token:
                return made
        raise ValueError(f"not a token: {token!r}")

    @property
    def token(self) -> str:
        """It holds for what it names alone: in a crontab it would let nothing else pass."""
        return signed(f"{self.day}:{self.kind}:{self.more:f}:{self.less:f}")

    @property
    def size(self) -> Decimal:
        """The larger of both: what goes from one user to another counts once."""
        return max(self.more, self.less)

    def covers(self, other: "LargeChange") -> bool:
        """Whether the other is of the same kind and month (or day), and no larger."""
        same = (self.day, self.kind) == (other.day, other.kind)
        return same and other.more <= self.more and other.less <= self.less


def shown(units: int) -> Decimal:
    """An amount in units of 10^-10 as a refusal prints it: with two decimals, rounded up, so that it is covered."""
    with localcontext(prec=80):
        return unscaled(units).quantize(Decimal("0.01"), ROUND_UP)

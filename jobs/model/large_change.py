"""A change so large that a person has to look at it first, and the token that a refusal prints for it."""

import re
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_UP, Decimal, localcontext

from jobs.model.scale import unscaled
from jobs.model.shrink import signed

KINDS = ("cost", "draws", "day", "accounts", "overrides")
"""Cost and draws of a month's covered days; the cost of a new day; accounts and overrides that are gone."""
NUMBER = r"\d{1,30}(?:\.\d{2})?"
FORM = re.compile(rf"(\d{{4}}-\d\d-\d\d):({'|'.join(KINDS)}):({NUMBER}):({NUMBER}):([0-9a-f]{{6}})")


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
        found = FORM.fullmatch(token)
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

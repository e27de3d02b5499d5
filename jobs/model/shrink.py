"""By how much usage of a month may shrink: a token that a refusal prints says what a person has looked at."""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import sha256

FORM = re.compile(r"(\d{4}-(?:0[1-9]|1[0-2])):(\d+):(\d+):([0-9a-f]{6})")


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
        found = FORM.fullmatch(token)
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

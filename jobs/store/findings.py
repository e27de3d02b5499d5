"""One line of `check`, and what it means for a run."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "unwritable", "refused"]
"""What a finding means for a run: nothing, something to know, it cannot write, it cannot even read."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was expected and found there, and what follows."""

    level: Level
    subject: str
    expected: str
    found: str
    consequence: str = ""

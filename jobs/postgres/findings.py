"""One line of `check`, and what it means for a run."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "unprovable", "unwritable", "refused"]
"""What a finding means: nothing, something to know, it cannot be proved (reconcile), written (run), or even read."""

REFUSING: dict[str, tuple[Level, ...]] = {
    "read": ("refused",),
    "prove": ("refused", "unprovable"),
    "write": ("refused", "unwritable"),
    "check": ("refused", "unwritable", "unprovable"),
}
"""What stands in the way of which purpose."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was expected and found there, what follows, and what mends it."""

    level: Level
    subject: str
    expected: str
    found: str
    consequence: str = ""
    remedy: str = ""

"""A finding: one line of `check`, and what it means for a run."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "unprovable", "unwritable", "refused"]
"""Severity, in this order: fine, a note, reconcile cannot run, runs cannot write, nothing can be read."""

REFUSING: dict[str, tuple[Level, ...]] = {
    "read": ("refused",),
    "prove": ("refused", "unprovable"),
    "write": ("refused", "unwritable"),
    "check": ("refused", "unwritable", "unprovable"),
}
"""By purpose the levels that prevent it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, what was expected and found, the consequence, and the remedy."""

    level: Level
    subject: str
    expected: str
    found: str
    consequence: str = ""
    remedy: str = ""

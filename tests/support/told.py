"""What a message must tell: a command that was refused, and the words without which nobody could mend it."""

import re
from collections.abc import Mapping
from typing import Any

from commands import Ran, usage_jobs

WARNING = "usage-jobs: WARNING:"


def refused(ran: Ran, *words: str, code: int = 5) -> None:
    """``words`` are patterns, of any case, each in what was printed (`check` prints a table, of folded cells)."""
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    said = ran.err + ran.out
    for word in words:
        found = re.search(word, said, re.IGNORECASE) or re.search(word, "".join(said.split()), re.IGNORECASE)
        assert found, f"{word!r} is not in: {said}"


def warnings(ran: Ran) -> list[str]:
    """The warnings, which are for people: no part of a result."""
    assert "WARNING" not in ran.out
    return [line for line in ran.err.splitlines() if line.startswith(WARNING)]


def under(environment: Mapping[str, str], *words: str, url: str | None = None) -> Ran:
    """The command, with these variables."""
    variables: dict[str, Any] = dict(environment)
    return usage_jobs(*words, url=url, **variables)

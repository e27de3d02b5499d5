"""What a token of the shrink check lets pass: nothing but what was printed, or less of it."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.check_tokens import Shrink

JUNE, MAY = date(2026, 6, 1), date(2026, 5, 1)
COUNTS = st.integers(0, 10**9)


@given(COUNTS, COUNTS)
def test_a_token_says_what_it_stands_for(rows: int, users: int) -> None:
    assert Shrink.parse(Shrink(JUNE, rows, users).token) == Shrink(JUNE, rows, users)


@given(COUNTS, COUNTS, st.integers(1, 1000), st.sampled_from(["month", "rows", "users"]))
def test_a_token_that_was_edited_is_none(rows: int, users: int, more: int, edited: str) -> None:
    parts = dict(zip(("month", "rows", "users", "check"), Shrink(JUNE, rows, users).token.split(":"), strict=True))
    parts[edited] = "2026-05" if edited == "month" else str(int(parts[edited]) + more)
    with pytest.raises(ValueError, match="not a token"):
        Shrink.parse(":".join(parts.values()))


@pytest.mark.parametrize(
    "text", ["", "true", "2026-06", "2026-13:1:1:000000", "2026-06:1:1:000000", "2026-06:-1:1:abcdef"]
)
def test_other_texts_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        Shrink.parse(text)


def test_it_allows_what_was_looked_at_and_less() -> None:
    seen = Shrink(JUNE, 400, 100)
    assert all(map(seen.allows, (seen, Shrink(JUNE, 450, 100), Shrink(JUNE, 450, 120))))
    assert not any(map(seen.allows, (Shrink(JUNE, 399, 100), Shrink(JUNE, 400, 99), Shrink(MAY, 400, 100))))

"""What a token of the change check lets pass: nothing but what was printed, or less of it."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.domain.check_tokens import LargeChange, round_up

KINDS = ("cost", "draws", "day", "accounts", "overrides")
AMOUNTS = st.integers(0, 10**24).map(round_up)
CHANGES = st.builds(LargeChange, st.dates(date(2000, 1, 1)), st.sampled_from(KINDS), AMOUNTS, AMOUNTS)
EDITS = st.sampled_from(["day", "kind", "more", "less"])


@given(CHANGES, EDITS)
def test_a_token_says_what_it_stands_for_and_cannot_be_edited(change: LargeChange, edited: str) -> None:
    assert LargeChange.parse(change.token) == change
    parts = dict(zip(("day", "kind", "more", "less", "check"), change.token.split(":"), strict=True))
    others = {"day": "1999-01-01", "kind": "days", "more": f"{change.more + 1}", "less": f"{change.less + 1}"}
    with pytest.raises(ValueError, match="not a token"):
        LargeChange.parse(":".join((parts | {edited: others[edited]}).values()))


@pytest.mark.parametrize("text", ["", "true", "2026-06-01:cost:1.00:0.00:000000", "2026-06-01:cost:-1.00:0.00:abcdef"])
def test_other_texts_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a token"):
        LargeChange.parse(text)


@given(CHANGES, AMOUNTS, AMOUNTS)
def test_it_covers_what_was_looked_at_and_less(change: LargeChange, more: Decimal, less: Decimal) -> None:
    found = replace(change, more=more, less=less)
    assert change.allows(found) == (more <= change.more and less <= change.less)
    assert not change.allows(replace(found, day=date(1999, 1, 1)))
    assert not change.allows(replace(found, kind="other"))


@given(st.integers(0, 10**24))
def test_what_is_printed_covers_the_exact_amount(units: int) -> None:
    assert units <= round_up(units) * 10**10 < units + 10**8

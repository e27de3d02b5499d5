"""Draws of rows that are gone."""

from datetime import date

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.domain.schemas import DRAWS
from jobs.pipeline.batch_reading import find_vanished_draws

DAY = date(2026, 6, 9)
users, amounts = st.sampled_from(["ada", "bob"]), st.integers(-2, 2)
entries = st.lists(st.tuples(st.integers(1, 3), users, amounts, amounts))


@given(entries, st.dictionaries(st.integers(1, 3), users))
@example([(1, "ada", 0, 3)], {})
@example([(1, "ada", 3, 0)], {1: "bob"})
@example([(1, "ada", 3, -3)], {})
def test_what_a_user_has_drawn_of_either_kind_on_a_row_that_is_not_his_is_found(
    drawn: list[tuple[int, str, int, int]], owners: dict[int, str]
) -> None:
    sums: dict[tuple[int, str], tuple[int, int]] = {}
    for id_, user, free, purchased in drawn:
        before = sums.get((id_, user), (0, 0))
        sums[id_, user] = (before[0] + free, before[1] + purchased)
    ledger = pl.DataFrame([(id_, user, DAY, False, *lots) for id_, user, *lots in drawn], schema=DRAWS, orient="row")
    usage = pl.DataFrame([*owners.items()], schema={"id": pl.UInt128, "user_id": pl.String}, orient="row")
    found = find_vanished_draws(ledger, usage).select("id", "user_id", "free", "purchased")
    assert {(row[0], row[1]): row[2:] for row in found.rows()} == {
        (id_, user): lots for (id_, user), lots in sums.items() if lots != (0, 0) and owners.get(id_) != user
    }

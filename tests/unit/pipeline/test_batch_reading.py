"""Draws of rows that are gone, and of rows that another month has adopted."""

from datetime import date

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.credits.allocation import CreditInput, allocate_window
from jobs.domain.rules import CreditRules
from jobs.domain.schemas import ACCOUNTS, BILLING_MODE_ENTRIES, DRAWS, DUE, PAYABLE, PREPAID
from jobs.pipeline.batch_reading import find_vanished_draws, make_zero_draws

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


def test_a_row_that_was_adopted_in_another_month_is_prepaid_in_this_one_too() -> None:
    kinds = {"id": pl.UInt128, "user_id": pl.Categorical, "date": pl.Date, "total_cost": pl.Int128}
    rows = pl.DataFrame([(1, "ada", DAY, 5), (2, "ada", DAY, 5)], schema=kinds, orient="row").with_columns(
        starts_month=pl.Series([True, False]), reported=pl.lit(value=False)
    )
    adopted = pl.DataFrame({"id": [1, 3], "user_id": ["ada", "ada"]}, schema={"id": pl.UInt128, "user_id": pl.String})
    zeros = make_zero_draws(adopted, rows)
    assert zeros.rows() == [(1, "ada", DAY, True, 0, 0)]
    modes, accounts, payable = (pl.DataFrame(schema=schema) for schema in (BILLING_MODE_ENTRIES, ACCOUNTS, PAYABLE))
    moved = pl.DataFrame(schema={"user_id": pl.Categorical, "id": pl.UInt128, "elsewhere": pl.Int128})
    rules = CreditRules(scale=10, due_scale=10, start=None, counts_free_apart=True)
    found = allocate_window(CreditInput(rows, modes, zeros, moved, payable), accounts, rules)
    assert found.select("class", "uncovered", "amount_due").rows() == [(PREPAID, 5, 0), (DUE, 0, 5)]

"""Lots settled in passes over all users at once, against a loop over rows in plain Python."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.credits.allocation import make_postings
from jobs.credits.lots import allocate_lots, lot_balances
from jobs.credits.payment_class import classify_payment
from jobs.domain.rules import CreditRules
from jobs.domain.schemas import ACCOUNTS, DRAWS

CENT = 10**8
JUNE = date(2026, 6, 1)
RULES = CreditRules(scale=2, due_scale=2, start=None, counts_free_apart=True)

amounts = st.integers(0, 12)
users = st.lists(st.tuples(st.lists(amounts, max_size=6), amounts, amounts), max_size=5)


def demands(wanted: list[tuple[list[int], int, int]]) -> pl.LazyFrame:
    """Rows of several users, each with what two lots of the user hold; an account without rows has none."""
    rows = [
        {"user_id": str(user), "_demand": demand, "a_left": a, "b_left": b}
        for user, (of_user, a, b) in enumerate(wanted)
        for demand in of_user
    ]
    return pl.LazyFrame(rows, schema={"user_id": pl.String} | dict.fromkeys(("_demand", "a_left", "b_left"), pl.Int128))


def one_by_one(wanted: list[tuple[list[int], int, int]]) -> list[tuple[int, int]]:
    """The same by a loop: each row takes what is left of the first lot, then of the second."""
    found = []
    for of_user, *lots in wanted:
        left = lots
        for demand in of_user:
            first = min(demand, left[0])
            second = min(demand - first, left[1])
            left = [left[0] - first, left[1] - second]
            found.append((first, second))
    return found


def test_the_example_of_the_docstring() -> None:
    rows = allocate_lots(demands([([4, 4, 4], 5, 6)]), ["a", "b"]).collect()
    assert rows.select("a_drawn", "b_drawn", "_rest").rows() == [(4, 0, 0), (1, 3, 0), (0, 3, 1)]


@given(users)
def test_passes_over_lots_do_what_a_loop_over_rows_does(wanted: list[tuple[list[int], int, int]]) -> None:
    rows = allocate_lots(demands(wanted), ["a", "b"]).collect()
    assert rows.select("a_drawn", "b_drawn").rows() == one_by_one(wanted)


@given(users)
def test_nothing_is_drawn_twice_nor_beyond_demand_or_lot(wanted: list[tuple[list[int], int, int]]) -> None:
    rows = allocate_lots(demands(wanted), ["a", "b"]).collect()
    rest = pl.col("_demand") - pl.col("a_drawn") - pl.col("b_drawn")
    assert rows.filter((rest < 0) | (rest.cum_sum().over("user_id") != pl.col("_rest"))).is_empty()
    sums = rows.group_by("user_id").agg(pl.col("a_drawn", "b_drawn").sum(), pl.col("a_left", "b_left").first())
    assert sums.filter((pl.col("a_drawn") > pl.col("a_left")) | (pl.col("b_drawn") > pl.col("b_left"))).is_empty()


@given(users, st.lists(amounts, min_size=2, max_size=2))
def test_a_third_lot_pays_only_what_two_leave_open(wanted: list[tuple[list[int], int, int]], third: list[int]) -> None:
    two = allocate_lots(demands(wanted), ["a", "b"]).collect()
    three = allocate_lots(
        demands(wanted).with_columns(c_left=pl.lit(third[0], dtype=pl.Int128)), ["a", "b", "c"]
    ).collect()
    assert three.select("a_drawn", "b_drawn").equals(two.select("a_drawn", "b_drawn"))
    assert (three["c_drawn"] <= two["_rest"]).all()


def left(numbers: dict[str, int], drawn: tuple[int, int] = (0, 0), rules: CreditRules = RULES) -> tuple[int, int]:
    """Cents in both lots of an account of which ``drawn`` (free, purchased) are this window's own draws."""
    account = {"user_id": "ada", "free_granted": 0, "total_purchased": 0, "free_used": 0, "total_used": 0} | {
        name: value * CENT for name, value in numbers.items()
    }
    draw = {
        "id": 1,
        "user_id": "ada",
        "date": JUNE,
        "imported": False,
        "free": drawn[0] * CENT,
        "purchased": drawn[1] * CENT,
    }
    fixed = {"user_id": ["ada"], "fixed_free": [0], "fixed_purchased": [0]}
    kinds = {"user_id": pl.String, "fixed_free": pl.Int128, "fixed_purchased": pl.Int128}
    lots = lot_balances(
        pl.LazyFrame([account], schema=ACCOUNTS), pl.LazyFrame([draw], schema=DRAWS), pl.LazyFrame(fixed, kinds), rules
    ).collect()
    free, purchased = lots.select(pl.col("free_left", "purchased_left") // CENT).row(0)
    return free, purchased


def test_own_draws_of_the_window_are_available_again() -> None:
    assert left({"free_granted": 10, "total_purchased": 20, "free_used": 10, "total_used": 7}, (4, 5)) == (4, 18)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"free_granted": 5, "free_used": 8, "total_purchased": 10}, (0, 7)),  # 3 free credits too many were used
        ({"free_granted": 5, "total_purchased": 10, "total_used": 12}, (3, 0)),
        ({"free_granted": 5, "free_used": 9, "total_purchased": 1, "total_used": 3}, (0, 0)),
    ],
)
def test_a_deficit_of_one_lot_is_taken_off_the_other(numbers: dict[str, int], expected: tuple[int, int]) -> None:
    assert left(numbers) == expected


def test_without_free_credits_used_what_was_used_was_free_first() -> None:
    one_column = CreditRules(scale=2, due_scale=2, start=None, counts_free_apart=False)
    account = {"free_granted": 10, "total_purchased": 20, "total_used": 13}
    assert left(account, rules=one_column) == (0, 17)
    assert left(account, (4, 5), one_column) == (6, 20)


def test_credit_below_the_ledgers_scale_is_not_drawn() -> None:
    whole = CreditRules(scale=0, due_scale=2, start=None, counts_free_apart=True)
    assert left({"free_granted": 199, "total_purchased": 250}, rules=whole) == (100, 200)


def test_the_newest_entry_on_or_before_the_day_says_how_a_row_is_paid() -> None:
    """In any order of entries, and with the parts of each class rounded over its own running cost."""
    modes = pl.LazyFrame(
        [("ada", date(2026, 6, 3), "postpaid"), ("ada", date.min, "prepaid"), ("bob", date.min, "free")],
        schema={"user_id": pl.String, "valid_from": pl.Date, "mode": pl.String},
        orient="row",
    )
    rows = pl.LazyFrame(
        {
            "user_id": ["ada"] * 4 + ["bob", "cy"],
            "date": [date(2026, 6, day) for day in (1, 2, 3, 4, 1, 1)],
            "total_cost": [CENT // 2] * 6,
            "starts_month": [True, False, False, False, True, True],
            "imported": [False] * 6,
        },
        schema_overrides={"user_id": pl.Categorical, "total_cost": pl.Int128},
    )
    found = classify_payment(rows, modes, RULES).collect()
    assert found["class"].to_list() == [0, 0, 3, 3, 2, 3]
    assert found["prepaid_part"].to_list() == [0, CENT, 0, 0, 0, 0]
    assert found["due_part"].to_list() == [0, 0, 0, CENT, 0, 0]


@pytest.mark.parametrize(
    ("mode", "column"), [("free", "_free_part"), ("postpaid", "due_part"), ("prepaid", "prepaid_part")]
)
def test_what_is_due_or_free_has_the_decimals_of_the_currency_and_draws_those_of_the_ledger(
    mode: str, column: str
) -> None:
    rules = CreditRules(scale=1, due_scale=0, start=None, counts_free_apart=True)
    modes = pl.LazyFrame(
        [("ada", date.min, mode)], schema={"user_id": pl.String, "valid_from": pl.Date, "mode": pl.String}, orient="row"
    )
    rows = pl.LazyFrame(
        {"user_id": ["ada"], "date": [JUNE], "total_cost": [164 * CENT], "starts_month": [True], "imported": [False]},
        schema_overrides={"user_id": pl.Categorical, "total_cost": pl.Int128},
    )
    found = (
        classify_payment(rows, modes, rules).select("prepaid_part", "due_part", "_free_part").collect().to_dicts()[0]
    )
    amount = 160 * CENT if mode == "prepaid" else 200 * CENT
    assert found == dict.fromkeys(("prepaid_part", "due_part", "_free_part"), 0) | {column: amount}


def test_postings_are_the_difference_by_row_user_and_month() -> None:
    """A row that moved to July: its June draws go back, it is drawn in July, and that is no fresh row."""
    rows = pl.LazyFrame(
        {"user_id": ["ada"], "id": [7], "month": [date(2026, 7, 1)], "date": [date(2026, 7, 4)], "free": [0]}
        | {"purchased": [5]},
        schema_overrides={"user_id": pl.Categorical, "id": pl.UInt128, "free": pl.Int128, "purchased": pl.Int128},
    )
    ledger = pl.LazyFrame([(7, "ada", date(2026, 6, 9), 1, 2, 3)], schema=DRAWS, orient="row")
    accounts = pl.LazyFrame([("ada", 0, 0, 0, 0)], schema=ACCOUNTS, orient="row")
    found = make_postings(rows, accounts, ledger).collect()
    assert found.select("month", "date", "free", "purchased", "is_first_draw", "vanished").rows() == [
        (JUNE, date(2026, 6, 9), -2, -3, False, True),
        (date(2026, 7, 1), date(2026, 7, 4), 0, 5, False, False),
    ]
    nobody = pl.LazyFrame(schema=ACCOUNTS)
    assert make_postings(rows, nobody, ledger).collect().is_empty()


def test_a_row_with_entries_of_nothing_alone_is_drawn_for_the_first_time() -> None:
    rows = pl.LazyFrame(
        {"user_id": ["ada"], "id": [7], "month": [JUNE], "date": [JUNE], "free": [0], "purchased": [5]},
        schema_overrides={"user_id": pl.Categorical, "id": pl.UInt128, "free": pl.Int128, "purchased": pl.Int128},
    )
    accounts = pl.LazyFrame([("ada", 0, 0, 0, 0)], schema=ACCOUNTS, orient="row")
    for before, fresh in ((0, True), (3, False)):
        ledger = pl.LazyFrame([(7, "ada", JUNE, True, 0, before)], schema=DRAWS, orient="row")
        found = make_postings(rows, accounts, ledger).select("purchased", "is_first_draw").collect()
        assert found.rows() == [(5 - before, fresh)]

"""The credit oracle on figures worked out on paper: one cpu hour costs 0.10, one day of storage 1 / 30 GB-month."""

from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from credit_oracle import CreditBook, exact
from credit_values import Account, Amount, Facts, Posted, Terms
from oracle import ZERO, Card, ClosedMonthError, Meter, Options, Row, World

D = Decimal
EARLY, JUNE, JULY, NEVER = date(2020, 1, 1), date(2024, 6, 1), date(2024, 7, 1), date.min
NORTH = UUID(int=0xA)
OPTIONS = Options(meters=(Meter("cpu_hours", "cpu_hours"),), cards=(Card("cpu_hours", EARLY, D(0), D("0.10")),))
FIRST = UUID(int=1)


def june(n: int) -> date:
    return date(2024, 6, n)


def row(n: int, day: Any, cost: str, user: str | None = "ann") -> Row:
    return Row(UUID(int=n), user, day, NORTH, {"cpu_hours": D(cost) * 10})


def account(purchased: str, used: str, granted: str, free_used: str | None) -> Account:
    return Account(exact(purchased), exact(used), exact(granted), None if free_used is None else exact(free_used))


def amount(free: str, purchased: str) -> Amount:
    return Amount(exact(free), exact(purchased))


@dataclass
class Story:
    """A database in words: rows, modes and accounts between runs."""

    rows: dict[UUID, Row] = field(default_factory=dict)
    modes: dict[str, str | None] = field(default_factory=lambda: {"ann": "prepaid", "bob": "prepaid"})
    flags: dict[str, Any] = field(default_factory=dict)
    reported: set[UUID] = field(default_factory=set)
    options: Options = OPTIONS
    credits: CreditBook = field(default_factory=CreditBook)

    def put(self, *rows: Row) -> "Story":
        self.rows |= {one.id: one for one in rows}
        return self

    def run(self, day: date) -> "Story":
        world = World(tuple(self.rows.values()), frozenset({"cpu_hours"}), users=frozenset(self.modes))
        self.credits.run(Facts(world, self.modes, self.flags, frozenset(self.reported)), self.options, day)
        return self

    def figures(self, user: str = "ann", month: date = JUNE) -> tuple[str, ...]:
        found = self.credits.book.user_monthly[month, user]
        names = ("credits_free", "credits_purchased", "uncovered", "amount_due", "amount_reported")
        assert found["credits_deducted"] == D(str(found["credits_free"])) + D(str(found["credits_purchased"]))
        return tuple(f"{found[name]:.3f}" for name in names)

    def ledger(self) -> list[tuple[int, str, int, str, str]]:
        return [
            (d.row.int, d.user, d.revision, f"{float(d.amount.free):g}", f"{float(d.amount.purchased):g}")
            for d in self.credits.ledger
        ]


def story(purchased: str = "5", granted: str = "1", free_used: str | None = "0", **others: Any) -> Story:
    made = Story(**others)
    made.credits.accounts["ann"] = account(purchased, "0", granted, free_used)
    return made


def test_free_credits_go_first_and_what_is_short_is_uncovered() -> None:
    made = story("2").put(row(1, june(1), "0.60"), row(2, june(2), "1.50"), row(3, june(3), "4")).run(june(3))
    assert made.ledger() == [(1, "ann", 1, "0.6", "0"), (2, "ann", 1, "0.4", "1.1"), (3, "ann", 1, "0", "0.9")]
    assert made.figures() == ("1.000", "2.000", "3.100", "0.000", "0.000")
    assert made.credits.accounts["ann"] == account("2", "2", "1", "1")
    assert made.credits.deducted == {UUID(int=1): exact("0.6"), UUID(int=2): exact("1.5"), UUID(int=3): exact("0.9")}
    assert made.credits.posted == [
        Posted("ann", exact("-0.6"), UUID(int=1)),
        Posted("ann", exact("-1.5"), UUID(int=2)),
        Posted("ann", exact("-0.9"), UUID(int=3)),
    ]
    assert made.credits.book.cluster_monthly[JUNE, NORTH]["credits_deducted"] == 3
    assert made.credits.book.cluster_daily[june(2), NORTH]["credits_deducted"] == D("1.5")


def test_a_second_run_adds_nothing() -> None:
    made = story().put(row(1, june(1), "0.60")).run(june(3)).run(june(3)).run(june(2))
    assert made.ledger() == [(1, "ann", 1, "0.6", "0")]


def test_tiny_costs_are_not_forgiven() -> None:
    """0.004 a day: the running costs 0.004, 0.008, 0.012, 0.016, 0.020 round to 0, .01, .01, .02, .02."""
    made = story("0").put(*(row(n, june(n), "0.004") for n in range(1, 6))).run(june(5))
    assert made.ledger() == [(2, "ann", 1, "0.01", "0"), (4, "ann", 1, "0.01", "0")]


def test_more_credit_settles_the_oldest_uncovered_row_first() -> None:
    made = story("0").put(row(1, june(1), "3"), row(2, june(2), "3")).run(june(2))
    made.credits.accounts["ann"] = replace(made.credits.accounts["ann"], purchased=exact(4))
    made.run(june(2))
    assert made.ledger()[1:] == [(1, "ann", 2, "0", "2"), (2, "ann", 1, "0", "2")]
    assert made.figures() == ("1.000", "4.000", "1.000", "0.000", "0.000")
    assert made.credits.posted[1:] == [Posted("ann", exact(-2), UUID(int=2)), Posted("ann", exact(-2), JUNE)]


def test_a_cheaper_row_gives_back_and_the_next_one_takes_it() -> None:
    made = story("0").put(row(1, june(1), "0.70"), row(2, june(2), "0.70")).run(june(2))
    made.put(row(1, june(1), "0.50")).run(june(2))
    assert made.ledger()[2:] == [(1, "ann", 2, "-0.2", "0"), (2, "ann", 2, "0.2", "0")]
    assert len(made.credits.posted) == 2  # the corrections of June are 0 together
    assert made.figures() == ("1.000", "0.000", "0.200", "0.000", "0.000")


def test_a_deleted_a_rejected_and_a_moved_row_are_reversed() -> None:
    made = story().put(*(row(n, june(n), "1") for n in (1, 2, 3))).run(june(3))
    made.credits.accounts["bob"] = account("1", "0", "0", "0")
    made.rows.pop(FIRST)
    made.put(row(2, june(2), "-1"), row(3, june(3), "1", "bob")).run(june(3))
    assert sum((draw.amount.total for draw in made.credits.ledger if draw.user == "ann"), ZERO) == 0
    assert made.credits.accounts["ann"] == account("5", "0", "1", "0")
    assert made.credits.deducted == {FIRST: 1, UUID(int=2): 0, UUID(int=3): 1}  # the first row is gone
    assert made.figures() == ("0.000",) * 5  # the rejected row is still ann's, and counts
    of_ann = made.credits.book.user_monthly[JUNE, "ann"]
    assert (of_ann["row_count"], of_ann["days"], of_ann["total_cost"]) == (1, 0, 0)
    assert made.figures("bob") == ("0.000", "1.000", "0.000", "0.000", "0.000")
    assert made.credits.posted[3:] == [Posted("ann", exact(3), JUNE), Posted("bob", exact(-1), UUID(int=3))]


def test_a_row_moved_between_open_months_is_posted_anew() -> None:
    made = story().put(row(1, june(30), "1")).run(date(2024, 7, 1))
    made.put(row(1, JULY, "1")).run(JULY)
    assert made.credits.net() == {(FIRST, "ann", JUNE): amount("0", "0"), (FIRST, "ann", JULY): amount("1", "0")}
    assert [draw.revision for draw in made.credits.ledger] == [1, 2, 3]
    assert made.credits.posted[1:] == [Posted("ann", exact(1), JUNE), Posted("ann", exact(-1), JULY)]


def test_a_closed_month_keeps_its_draws_and_only_open_rows_take_new_credit() -> None:
    made = story("0").put(row(1, june(1), "3"), row(2, JULY, "3")).run(date(2024, 7, 3))
    assert made.credits.book.months[JUNE].closed
    made.credits.accounts["ann"] = replace(made.credits.accounts["ann"], purchased=exact(1))
    made.rows.pop(FIRST)
    made.run(date(2024, 7, 3))
    assert made.ledger() == [(1, "ann", 1, "1", "0"), (2, "ann", 1, "0", "1")]
    with pytest.raises(ClosedMonthError):
        made.run(june(30))


def test_a_row_that_leaves_a_closed_month_keeps_that_draw_and_is_not_drawn_again() -> None:
    made = story().put(row(1, june(1), "1"), row(2, JULY, "1")).run(date(2024, 7, 3))
    made.put(row(1, JULY, "1")).run(date(2024, 7, 3))
    assert made.credits.net()[FIRST, "ann", JUNE] == amount("1", "0")
    assert (FIRST, "ann", JULY) not in made.credits.net()
    made.put(row(1, JULY, "1.5")).run(date(2024, 7, 3))
    assert made.credits.net()[FIRST, "ann", JULY].total == exact("0.5")
    assert made.credits.deducted[FIRST] == exact("1.5")


def test_modes_change_with_the_first_run_that_covers_new_days() -> None:
    made = story().put(*(row(n, june(n), "1") for n in (1, 2, 3))).run(june(2))
    made.modes["ann"] = "postpaid"
    made.run(june(2))
    assert made.credits.modes["ann"] == [(NEVER, "prepaid")]
    made.run(june(3))
    assert made.credits.modes["ann"] == [(NEVER, "prepaid"), (june(3), "postpaid")]
    assert made.figures() == ("1.000", "1.000", "0.000", "1.000", "0.000")


def test_null_unknown_and_missing_users_are_due_and_free_ones_owe_nothing() -> None:
    made = story(modes={"ann": None, "bob": "free"})
    made.put(row(1, june(1), "1"), row(2, june(1), "1", "bob"), row(3, june(1), "1.006", "eve")).run(june(1))
    assert made.figures() == ("0.000", "0.000", "0.000", "1.000", "0.000")
    assert made.figures("bob") == ("0.000",) * 5
    assert made.figures("eve") == ("0.000", "0.000", "0.000", "1.010", "0.000")
    assert made.credits.modes == {"ann": [(NEVER, None)], "bob": [(NEVER, "free")]}


@pytest.mark.parametrize("flags", [{}, None, {"prepaid": False}, {"prepaid": None}])
def test_a_prepaid_user_without_the_flag_is_postpaid(flags: Any) -> None:
    credits = CreditBook(Terms(feature_flag="prepaid"))
    made = story(credits=credits, flags={"ann": flags, "bob": {"prepaid": True}}).put(row(1, june(1), "1")).run(june(1))
    assert made.figures()[3] == "1.000"
    assert made.credits.modes == {"ann": [(NEVER, "postpaid")], "bob": [(NEVER, "prepaid")]}


def test_prepaid_rows_before_the_start_are_neither_drawn_nor_uncovered_nor_due() -> None:
    made = story("0", credits=CreditBook(Terms(start=june(2))))
    made.put(row(1, june(1), "1.004"), row(2, june(2), "2.004")).run(june(2))
    assert made.ledger() == [(2, "ann", 1, "1", "0")]
    assert made.figures() == ("1.000", "0.000", "1.000", "0.000", "0.000")


def test_a_reported_row_keeps_its_draws_and_its_place_in_the_running_cost() -> None:
    made = story("0").put(row(1, june(1), "0.604"), row(2, june(2), "0.604")).run(june(2))
    made.reported.add(FIRST)
    made.credits.accounts["ann"] = replace(made.credits.accounts["ann"], purchased=exact(9))
    made.put(row(1, june(1), "2.004")).run(june(2))
    assert made.ledger() == [(1, "ann", 1, "0.6", "0"), (2, "ann", 1, "0.4", "0"), (2, "ann", 2, "0", "0.21")]
    assert made.figures() == ("1.000", "0.210", "0.000", "0.000", "1.400")


def test_a_reported_row_that_moves_to_another_month_takes_its_draws_along() -> None:
    made = story().put(row(1, june(30), "1")).run(JULY)
    made.reported.add(FIRST)
    made.put(row(1, JULY, "3")).run(JULY)
    assert made.credits.net() == {(FIRST, "ann", JUNE): amount("0", "0"), (FIRST, "ann", JULY): amount("1", "0")}
    assert made.figures(month=JULY) == ("1.000", "0.000", "0.000", "0.000", "2.000")


def test_reported_due_rows_are_reported_at_the_currency_scale() -> None:
    made = story(modes={"ann": "postpaid"}, reported={FIRST}, options=replace(OPTIONS, currency_scale=1))
    made.put(row(1, june(1), "1.04"), row(2, june(2), "1.04")).run(june(2))
    assert made.figures() == ("0.000", "0.000", "0.000", "1.100", "1.000")


def test_without_an_account_everything_is_uncovered() -> None:
    made = Story().put(row(1, june(1), "1")).run(june(1))
    assert made.figures() == ("0.000", "0.000", "1.000", "0.000", "0.000")
    assert made.ledger() == []


def test_draws_of_a_user_whose_account_is_gone_stay_as_they_are() -> None:
    made = story().put(row(1, june(1), "1"), row(2, june(2), "1")).run(june(2))
    del made.credits.accounts["ann"]
    made.rows.pop(UUID(int=2))
    made.put(row(1, june(1), "3")).run(june(2))
    assert made.ledger() == [(1, "ann", 1, "1", "0"), (2, "ann", 1, "0", "1")]
    assert made.figures() == ("1.000", "1.000", "2.000", "0.000", "0.000")


def test_a_deficit_of_one_kind_is_taken_off_the_other() -> None:
    made = story()
    made.credits.accounts["ann"] = account("5", "0", "1", "1.5")
    assert made.credits.accounts["ann"].left(amount("0", "0"), 2) == amount("0", "4.5")
    assert account("5", "6", "3", "0").left(amount("0", "0"), 2) == amount("2", "0")
    assert account("5", "9", "1", "0").left(amount("0", "0"), 2) == amount("0", "0")
    assert account("1.009", "0", "2.999", "0").left(amount("0", "0"), 2) == amount("2.99", "1")


def test_without_free_credits_used_the_granted_part_counts_first() -> None:
    made = story("5", free_used=None).put(row(1, june(1), "0.60"), row(2, june(2), "1.50")).run(june(2))
    assert made.ledger() == [(1, "ann", 1, "0.6", "0"), (2, "ann", 1, "0.4", "1.1")]
    assert made.credits.accounts["ann"] == account("5", "2.1", "1", None)
    made.run(june(3))
    assert len(made.ledger()) == 2


def adopting(free_used: str | None) -> Story:
    made = story(modes={"ann": "postpaid"})
    made.credits.accounts["ann"] = account("5", "1", "1", free_used)
    made.credits.deducted = {FIRST: exact("0.7"), UUID(int=2): exact("0.9")}
    return made.put(row(2, june(2), "1"), row(1, june(1), "1"), row(3, june(3), "1"))


def test_adoption_imports_free_first_and_such_rows_are_prepaid() -> None:
    made = adopting("0.8").run(june(3))
    assert made.ledger()[:2] == [(1, "ann", 0, "0.7", "0"), (2, "ann", 0, "0.1", "0.8")]
    # Of 1 granted none is used but by this window; purchased: 5 less 0.2 that are not in the ledger.
    assert made.ledger()[2:] == [(1, "ann", 1, "0.3", "0"), (2, "ann", 1, "-0.1", "0.2")]
    assert made.credits.posted == [Posted("ann", exact("-0.4"), JUNE)]
    assert made.figures() == ("1.000", "1.000", "0.000", "1.000", "0.000")
    assert made.credits.accounts["ann"] == account("5", "1.2", "1", "1")


def test_adoption_without_free_credits_used_takes_the_granted_ones_as_free() -> None:
    made = adopting(None).run(june(3))
    assert made.ledger()[:2] == [(1, "ann", 0, "0.7", "0"), (2, "ann", 0, "0.3", "0.6")]


def test_early_imported_draws_stay() -> None:
    made = adopting("0.8")
    made.credits.terms = Terms(start=june(2))
    made.run(june(3))
    assert made.ledger()[2:] == [(2, "ann", 1, "0.2", "-0.1")]
    assert made.credits.net()[FIRST, "ann", JUNE] == amount("0.7", "0")


def test_adoption_happens_once() -> None:
    made = story().put(row(1, june(1), "1")).run(june(1))
    made.put(row(2, june(2), "1"))
    made.credits.deducted[UUID(int=2)] = exact("0.5")
    made.run(june(2))
    assert made.ledger() == [(1, "ann", 1, "1", "0"), (2, "ann", 1, "0", "1")]
    assert made.credits.deducted[UUID(int=2)] == Fraction(1)

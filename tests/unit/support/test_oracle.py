"""The oracle itself, on figures worked out on paper; and its own laws on generated worlds."""

import csv
import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import (
    Book,
    Card,
    ClosedMonthError,
    Figures,
    Meter,
    MissingCardError,
    Options,
    Override,
    Row,
    World,
    as_read,
    shown,
)
from worlds import Case, cases, edits, write_config

D = Decimal
EARLY, JUNE, JULY = date(2020, 1, 1), date(2024, 6, 1), date(2024, 7, 1)
NORTH, SOUTH = UUID(int=0xA), UUID(int=0xB)
CPU, DISK = Meter("cpu_hours", "cpu_hours"), Meter("storage_gb", "storage_gb", "level")
CALLS = Meter("model_inference_calls", "model_inference_calls")
EXTRA = Meter("instance_hours", "instance_hours", optional=True)
CARDS = (
    Card("cpu_hours", EARLY, D(0), D("0.10")),
    Card("storage_gb", EARLY, D(0), D(0)),
    Card("storage_gb", EARLY, D(10), D("0.10")),
    Card("storage_gb", EARLY, D(100), D("0.08")),
    Card("model_inference_calls", EARLY, D(0), D("1.00"), 1000),
)
GRADUATED = (*CARDS[1:], Card("cpu_hours", EARLY, D(0), D("0.10")), Card("cpu_hours", EARLY, D(10), D("0.04")))
OPTIONS = Options(meters=(CPU, DISK, CALLS), cards=CARDS)


def row(n: int, day: Any, user: str | None = "ann", cluster: UUID | None = None, **values: Any) -> Row:
    total_cost = values.pop("total_cost", None)
    quantities = {name: None if value is None else D(value) for name, value in values.items()}
    return Row(UUID(int=n), user, day, cluster, quantities, None if total_cost is None else D(total_cost))


def world(*rows: Row, **others: Any) -> World:
    columns = frozenset({"cpu_hours", "storage_gb", "model_inference_calls"})
    return World(rows=rows, **({"columns": columns} | others))


def june(n: int) -> date:
    return date(2024, 6, n)


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 6, day, hour, tzinfo=UTC)


def override(n: int, resource: str, price: str | None, discount: str | None = None, **times: Any) -> Override:
    start, until = times.get("start", at(1)), times.get("until")
    created = times.get("created", at(1))
    amounts = (D(price) if price else None, D(discount) if discount else None)
    return Override(UUID(int=n), "ann", resource, *amounts, start, until, created, times.get("active"))


def booked(state: World, options: Options = OPTIONS, day: date = date(2024, 6, 30)) -> Book:
    book = Book()
    book.run(state, options, day)
    return book


def charge(state: World, n: int, meter: str, options: Options = OPTIONS) -> Decimal:
    return shown(booked(state, options).priced[UUID(int=n)].charges[meter])


def figures(of: Figures, *names: str) -> list[Any]:
    return [of[name] for name in names]


# Numbers


def test_reading_rounds_half_away_from_zero_and_charging_half_to_even() -> None:
    assert as_read(D("0.00000000005")) == Fraction(1, 10**10)
    assert as_read(D("-0.00000000005")) == Fraction(-1, 10**10)
    assert as_read(D("0.00000000004999")) == 0
    assert shown(Fraction(5, 10**11)) == 0
    assert shown(Fraction(15, 10**11)) == D("2e-10")
    assert str(shown(Fraction(12345, 10**3), 2)) == "12.34"


def test_a_charge_is_rounded_once_half_to_even() -> None:
    # 5e-10 h × 0.10 = 5e-11 → 0; 15e-10 h × 0.10 = 15e-11 → 2e-10
    state = world(row(1, june(1), cpu_hours="5e-10"), row(2, june(2), cpu_hours="15e-10"))
    assert [charge(state, n, "cpu_hours") for n in (1, 2)] == [0, D("2e-10")]


# Prices


def test_tiers_run_over_the_users_day_in_row_order_across_clusters() -> None:
    # NORTH's 8 come first, then SOUTH's 4 (2 × 0.10 + 2 × 0.04), null last: 1 × 0.04; the next day starts anew
    state = world(
        row(1, june(1), cpu_hours=1),
        row(2, june(1), cluster=SOUTH, cpu_hours=4),
        row(3, june(1), cluster=NORTH, cpu_hours=8),
        row(4, june(2), cpu_hours=1),
        row(5, june(1), "bob", cpu_hours=1),
    )
    options = replace(OPTIONS, cards=GRADUATED)
    charges = [charge(state, n, "cpu_hours", options) for n in (3, 2, 1, 4, 5)]
    assert charges == [D("0.8"), D("0.28"), D("0.04"), D("0.1"), D("0.1")]


def test_rows_of_one_day_and_cluster_go_by_their_id() -> None:
    state = world(row(0x20, june(1), cpu_hours=10), row(0x1F, june(1), cpu_hours=10))
    options = replace(OPTIONS, cards=GRADUATED)
    assert [charge(state, n, "cpu_hours", options) for n in (0x1F, 0x20)] == [1, D("0.4")]


def test_a_level_is_charged_by_the_day() -> None:
    # 110 GB in June: (90 × 0.10 + 10 × 0.08) ÷ 30 = 9.80 ÷ 30
    assert charge(world(row(1, june(1), storage_gb=110)), 1, "storage_gb") == D("0.3266666667")


def test_calls_are_priced_per_thousand() -> None:
    assert charge(world(row(1, june(1), model_inference_calls=1500)), 1, "model_inference_calls") == D("1.5")


def test_the_newest_card_on_or_before_the_day_holds() -> None:
    options = replace(OPTIONS, cards=(*CARDS, Card("cpu_hours", june(16), D(0), D("0.20"))))
    state = world(row(1, june(15), cpu_hours=1), row(2, june(16), cpu_hours=1))
    assert [charge(state, n, "cpu_hours", options) for n in (1, 2)] == [D("0.1"), D("0.2")]


def test_month_wide_tiers_count_every_quantity_also_one_with_its_own_price() -> None:
    # 6 at 0.10; 3 at the override's 0.02; then 5, of which 1 is still below 10: 0.10 + 4 × 0.04; July starts anew
    state = world(
        row(1, june(1), cpu_hours=6),
        row(2, june(2), cpu_hours=3),
        row(3, june(3), cpu_hours=5),
        row(4, date(2024, 7, 1), cpu_hours=1),
        overrides=(override(1, "cpu_hours", "0.02", start=at(2), until=at(3)),),
    )
    book = booked(state, replace(OPTIONS, cards=GRADUATED, tiers="month"), date(2024, 7, 1))
    charges = [shown(book.priced[UUID(int=n)].charges["cpu_hours"]) for n in (1, 2, 3, 4)]
    assert charges == [D("0.6"), D("0.06"), D("0.26"), D("0.1")]


def test_month_wide_tiers_of_a_level_are_in_gb_months() -> None:
    # 240 GB a day are 8 GB-months: the first day is free; the second reaches 16, 6 of them over 10: 6 × 0.10
    state = world(row(1, june(1), storage_gb=240), row(2, june(2), storage_gb=240))
    options = replace(OPTIONS, tiers="month")
    assert [charge(state, n, "storage_gb", options) for n in (1, 2)] == [0, D("0.6")]


# Overrides


def test_an_override_replaces_the_whole_card_and_keeps_its_unit() -> None:
    # 110 GB × 0.03 ÷ 30, no free tier; 1,500 calls × 0.50 ÷ 1,000; cpu_hours stays on its card
    state = world(
        row(1, june(1), cpu_hours=1, storage_gb=110, model_inference_calls=1500),
        overrides=(override(1, "storage_gb", "0.03"), override(2, "api_calls", "0.5")),
    )
    names = ("cpu_hours", "storage_gb", "model_inference_calls")
    assert [charge(state, 1, name) for name in names] == [D("0.1"), D("0.11"), D("0.75")]


def test_a_discount_acts_on_the_cards_charge_before_its_one_rounding() -> None:
    # 9.80 ÷ 30 × 0.6667 = 0.217788666…; of the rounded 0.3266666667 it would be …6689
    state = world(row(1, june(1), storage_gb=110), overrides=(override(1, "storage_gb", None, "33.33"),))
    assert charge(state, 1, "storage_gb") == D("0.2177886667")


@pytest.mark.parametrize(
    ("start", "until", "days"),
    [
        (at(2), at(4), [2, 3]),
        (at(2, 23), at(3, 1), [2, 3]),
        (at(2), at(2, 1), [2]),
        (at(2), at(2), []),
        (at(3), at(2), []),
        (at(4), None, [4]),
    ],
)
def test_an_override_holds_on_each_utc_day_that_it_touches(
    start: datetime, until: datetime | None, days: list[int]
) -> None:
    rows = [row(n, june(n), cpu_hours=1) for n in (1, 2, 3, 4)]
    state = world(*rows, overrides=(override(1, "cpu_hours", "7", start=start, until=until),))
    assert [n for n in (1, 2, 3, 4) if charge(state, n, "cpu_hours") == 7] == days


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"start": at(2)}, {"start": at(1), "created": at(3)}),
        ({"created": at(2)}, {"created": at(1)}),
        ({"n": 2}, {"n": 1}),
    ],
)
def test_of_several_the_latest_start_then_created_at_then_id_wins(one: dict[str, Any], two: dict[str, Any]) -> None:
    winner = override(one.pop("n", 1), "cpu_hours", "7", **one)
    loser = override(two.pop("n", 2), "cpu_hours", "5", **two)
    state = world(row(1, june(5), cpu_hours=1), overrides=(winner, loser))
    assert charge(state, 1, "cpu_hours") == 7


def test_an_override_of_neither_price_nor_discount_is_ignored_before_choosing() -> None:
    both = (override(1, "cpu_hours", "7"), override(2, "cpu_hours", None, start=at(2)))
    assert charge(world(row(1, june(5), cpu_hours=1), overrides=both), 1, "cpu_hours") == 7


def test_without_valid_from_created_at_starts_it_while_it_is_active() -> None:
    rows = (row(1, june(1), cpu_hours=1), row(2, june(2), cpu_hours=1))
    active = override(1, "cpu_hours", "7", start=None, created=at(2, 5), active=True)
    state = world(*rows, overrides=(active,))
    assert [charge(state, n, "cpu_hours") for n in (1, 2)] == [D("0.1"), 7]
    assert charge(world(*rows, overrides=(replace(active, active=False),)), 2, "cpu_hours") == D("0.1")


def test_an_override_that_is_no_longer_active_holds_to_the_day_on_which_it_was() -> None:
    """By the runs that have seen it; one that was never seen active was never in force."""
    rows = [row(n, june(n), cpu_hours=1) for n in (3, 4, 5)]
    ended = override(1, "cpu_hours", "7", start=None, created=at(2, 5), active=True)
    never = override(2, "cpu_hours", "9", start=None, created=at(2, 5), active=False)
    book = Book()
    book.run(world(*rows, overrides=(ended, never)), OPTIONS, june(4))
    book.run(world(*rows, overrides=(replace(ended, active=False), never)), OPTIONS, june(5))
    costs = [book.user_daily[june(n), "ann", None]["total_cost"] for n in (3, 4, 5)]
    assert costs == [D(7), D(7), D("0.1")]


def test_an_optional_meter_is_left_out_without_its_column_and_on_days_without_a_card() -> None:
    options = replace(OPTIONS, meters=(CPU, EXTRA), cards=(*CARDS, Card("instance_hours", june(2), D(0), D(3))))
    rows = (row(1, june(1), instance_hours=1), row(2, june(2), instance_hours=1))
    there = world(*rows, columns=frozenset({"cpu_hours", "instance_hours"}))
    found = booked(there, options).user_monthly[JUNE, "ann"]
    assert figures(found, "instance_hours", "instance_hours_cost", "total_cost") == [1, 3, 3]
    found = booked(replace(there, columns=frozenset({"cpu_hours"})), options).user_monthly[JUNE, "ann"]
    assert figures(found, "instance_hours", "instance_hours_cost", "days") == [0, 0, 2]


def test_a_required_meter_needs_a_card_on_the_first_day_of_the_window() -> None:
    options = replace(OPTIONS, meters=(CPU,), cards=(Card("cpu_hours", date(2024, 5, 2), D(0), D(1)),))
    with pytest.raises(MissingCardError):
        booked(world(), options)
    assert booked(world(), replace(options, start=JUNE)).months.keys() == {JUNE}


# Cost of a row


@pytest.mark.parametrize(
    ("cost", "zero_means", "recorded", "expected"),
    [
        ("recorded", "unpriced", "5", (5, 4)),
        ("recorded", "unpriced", "0.25", (D("0.25"), D("-0.75"))),
        ("recorded", "unpriced", None, (1, 0)),
        ("recorded", "unpriced", "0", (1, 0)),
        ("recorded", "unpriced", "4e-11", (1, 0)),
        ("recorded", "free", "0", (0, -1)),
        ("rated", "unpriced", "5", (1, 0)),
    ],
)
def test_the_mode_says_what_a_row_costs(cost: Any, zero_means: Any, recorded: Any, expected: Any) -> None:
    state = world(row(1, june(1), cpu_hours=10, total_cost=recorded))
    book = booked(state, replace(OPTIONS, cost=cost, zero_means=zero_means))
    found = book.user_monthly[JUNE, "ann"]
    assert (found["total_cost"], found["adjustment_cost"]) == expected
    assert found["cpu_hours_cost"] == 1


def test_a_rated_total_cost_is_quantized_by_the_users_running_cost() -> None:
    # 0.004 a day, at two decimals: running 0.004, 0.008, 0.012, 0.016 → 0, 0.01, 0.01, 0.02
    rows = [row(n, june(n), cpu_hours="0.04", total_cost="9") for n in (1, 2, 3, 4)]
    book = booked(world(*rows), replace(OPTIONS, cost="rated", total_cost_scale=2))
    assert [str(book.total_cost_written[UUID(int=n)]) for n in (1, 2, 3, 4)] == ["0.00", "0.01", "0.00", "0.01"]
    assert [one.total_cost for one in book.written(world(*rows)).rows] == [0, D("0.01"), 0, D("0.01")]
    assert book.user_monthly[JUNE, "ann"]["total_cost"] == D("0.016")


def test_a_rated_total_cost_keeps_ten_places_in_a_column_without_scale_and_equal_values_stay() -> None:
    state = world(row(1, june(1), storage_gb=110, total_cost="0.32666666674"), row(2, june(2), storage_gb=110))
    book = booked(state, replace(OPTIONS, cost="rated"))
    assert set(book.total_cost_written.values()) == {D("0.3266666667")}
    assert [one.total_cost for one in book.written(state).rows] == [D("0.32666666674"), D("0.3266666667")]


def test_a_recorded_month_writes_no_total_cost() -> None:
    assert booked(world(row(1, june(1), cpu_hours=1))).total_cost_written == {}


# Tables


def test_user_monthly_sums_rows_days_and_gb_months() -> None:
    # 31 GB on one day and 14 on another are 45 ÷ 30 = 1.5 GB-months; charges 21 × 0.10 ÷ 30 and 4 × 0.10 ÷ 30
    state = world(
        row(1, june(1), cluster=NORTH, cpu_hours=1, storage_gb=31),
        row(2, june(1), cluster=SOUTH, cpu_hours=None),
        row(3, june(2), storage_gb=14),
        modes={"ann": "postpaid"},
    )
    book = booked(state)
    assert book.user_monthly == {
        (JUNE, "ann"): {
            "days": 2, "cpu_hours": 1, "cpu_hours_cost": D("0.1"), "storage_gb": D("1.5"),
            "storage_gb_cost": D("0.0833333333"), "storage_gb_days": 45, "model_inference_calls": 0,
            "model_inference_calls_cost": 0, "adjustment_cost": 0, "total_cost": D("0.1833333333"),
            "amount_due": D("0.18"), "row_count": 3,
        }
    }  # fmt: skip
    assert (book.months[JUNE].row_count, book.months[JUNE].total_cost) == (3, D("0.1833333333"))


def test_only_users_who_pay_afterwards_have_an_amount_due() -> None:
    users = {"ann": "prepaid", "bob": "free", "cat": None}
    rows = [row(n, june(1), user, cpu_hours="0.25") for n, user in enumerate([*users, "dan"])]
    book = booked(world(*rows, modes=users))
    assert [str(book.user_monthly[JUNE, u]["amount_due"]) for u in (*users, "dan")] == [
        "0.00",
        "0.00",
        "0.02",
        "0.02",
    ]


def test_cluster_tables_count_users_and_keep_the_null_cluster() -> None:
    # day 1: ann and bob on NORTH; day 2: ann there; cat in the null cluster, then on an unknown one
    state = world(
        row(1, june(1), cluster=NORTH, cpu_hours=1, storage_gb=15),
        row(2, june(1), "bob", NORTH, cpu_hours=1),
        row(3, june(2), cluster=NORTH, cpu_hours=1, storage_gb=15),
        row(4, june(2), "cat", cpu_hours=1),
        row(5, june(3), "cat", SOUTH),
        clusters={NORTH: "north"},
    )
    book = booked(state)
    names = ("cluster_name", "users", "storage_gb", "total_cost")
    assert {key: figures(found, *names) for key, found in book.cluster_daily.items()} == {
        (june(1), NORTH): ["north", 2, 15, D("0.2166666667")],  # 0.2 + 5 × 0.10 ÷ 30
        (june(2), NORTH): ["north", 1, 15, D("0.1166666667")],
        (june(2), None): [None, 1, 0, D("0.1")],
        (june(3), SOUTH): [None, 1, 0, 0],
    }
    month = book.cluster_monthly[JUNE, NORTH]
    assert figures(month, "cluster_name", "users", "active_users", "max_users") == ["north", 2, 2, 2]
    assert figures(month, "storage_gb", "total_cost") == [1, D("0.3333333334")]
    assert month["cost_per_user"] == D("0.1666666667")
    assert book.cluster_monthly.keys() == {(JUNE, NORTH), (JUNE, SOUTH), (JUNE, None)}


# Rejects


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (row(1, june(1), None, cpu_hours=1), "user"),
        (row(1, None), "date"),
        (row(1, "infinity"), "date"),
        (row(1, "-infinity"), "date"),
        (row(1, june(1), cpu_hours="NaN"), "quantity"),
        (row(1, june(1), cpu_hours="-Infinity"), "quantity"),
        (row(1, june(1), storage_gb="-1e-10"), "quantity"),
        (row(1, june(1), cpu_hours="100000000.0000000001"), "quantity"),
        (row(1, june(1), total_cost="NaN"), "total_cost"),
        (row(1, june(1), total_cost="-0.01"), "total_cost"),
    ],
)
def test_bad_input_is_rejected_and_the_rest_done(bad: Row, word: str) -> None:
    book = booked(world(bad, row(2, june(1), cpu_hours="1e8")))
    assert book.rejects == {bad.id: word}
    assert book.priced.keys() == {UUID(int=2)}
    assert book.user_monthly[JUNE, "ann"]["total_cost"] == 10**7


def test_a_rejected_quantity_takes_no_place_in_the_tiers() -> None:
    state = world(row(1, june(1), cpu_hours=9, total_cost="NaN"), row(2, june(1), cpu_hours=9))
    assert charge(state, 2, "cpu_hours", replace(OPTIONS, cards=GRADUATED)) == D("0.9")


def test_healed_rows_leave_and_rejects_of_days_not_covered_stay_out() -> None:
    bad, future = row(1, june(1), cpu_hours=-1), row(2, june(11), cpu_hours=-1)
    long_ago = row(3, date(2024, 4, 30), cpu_hours=-1)
    book = booked(world(bad, future, long_ago), day=june(10))
    assert book.rejects == {bad.id: "quantity"}
    book.run(world(row(1, june(1), cpu_hours=1), future, long_ago), OPTIONS, june(10))
    assert book.rejects == {}


def test_a_reject_of_a_closed_month_stays_as_it_was() -> None:
    bad = row(1, june(1), cpu_hours=-1)
    book = booked(world(bad), day=date(2024, 7, 3))
    book.run(world(), OPTIONS, date(2024, 7, 4))
    assert book.rejects == {bad.id: "quantity"}


# Windows


def test_a_first_run_covers_the_month_before_and_days_up_to_its_own() -> None:
    days = (date(2024, 4, 30), date(2024, 5, 1), june(10), june(11))
    state = world(*(row(n, day, cpu_hours=1) for n, day in enumerate(days)))
    book = booked(state, day=june(10))
    assert book.priced.keys() == {UUID(int=1), UUID(int=2)}
    assert book.months.keys() == {date(2024, 5, 1), JUNE}


def test_june_closes_by_the_run_of_3_july_and_then_stays() -> None:
    state = world(row(1, june(1), cpu_hours=1), row(2, JULY, cpu_hours=1))
    book = booked(state, day=date(2024, 7, 2))
    assert not book.months[JUNE].closed
    book.run(world(row(1, june(1), cpu_hours=2)), OPTIONS, date(2024, 7, 3))
    assert book.months[JUNE].closed
    book.run(world(), OPTIONS, date(2024, 7, 4))
    assert book.user_monthly[JUNE, "ann"]["cpu_hours"] == 2
    assert (JULY, "ann") not in book.user_monthly
    assert (book.months[JUNE].row_count, book.months[JULY].row_count) == (1, 0)
    with pytest.raises(ClosedMonthError):
        book.run(state, OPTIONS, june(30))
    assert book.last_day == date(2024, 7, 4)


def test_an_outage_loses_no_day_and_a_run_never_uncounts_one() -> None:
    state = world(*(row(n, date(2024, n, 1), cpu_hours=1) for n in (6, 7, 8, 9)))
    book = booked(state, day=june(30))
    book.run(state, OPTIONS, date(2024, 9, 20))
    assert [month.month for month, _ in book.user_monthly] == [6, 7, 8, 9]
    assert [book.months[date(2024, n, 1)].closed for n in (6, 7, 8, 9)] == [True, True, True, False]
    book.run(state, OPTIONS, date(2024, 9, 1))
    assert (book.last_day, book.months[date(2024, 9, 1)].row_count) == (date(2024, 9, 20), 1)


def test_start_is_the_first_month_and_a_day_before_it_is_refused() -> None:
    options = replace(OPTIONS, start=JUNE)
    assert booked(world(row(1, date(2024, 5, 31), cpu_hours=1)), options).months.keys() == {JUNE}
    with pytest.raises(ClosedMonthError):
        booked(world(), options, date(2024, 5, 31))


def test_a_month_keeps_the_mode_of_the_first_run_that_covers_it() -> None:
    state = world(row(1, june(1), cpu_hours=1, total_cost=5), row(2, JULY, cpu_hours=1, total_cost=5))
    book = booked(state, day=june(30))
    book.run(state, replace(OPTIONS, cost="rated"), date(2024, 7, 1))
    assert (book.months[JUNE].cost_mode, book.months[JULY].cost_mode) == ("recorded", "rated")
    assert book.user_monthly[JUNE, "ann"]["total_cost"] == 5
    assert book.user_monthly[JULY, "ann"]["total_cost"] == D("0.1")
    assert book.total_cost_written == {UUID(int=2): D("0.1")}


def test_a_row_that_vanished_upstream_vanishes_from_open_months() -> None:
    book = booked(world(row(1, june(1), cluster=NORTH, cpu_hours=1), row(2, june(1), "bob", cpu_hours=1)))
    book.run(world(row(2, june(1), "bob", cpu_hours=1)), OPTIONS, june(30))
    assert book.user_monthly.keys() == {(JUNE, "bob")}
    assert book.cluster_daily.keys() == {(june(1), None)}
    assert book.cluster_monthly.keys() == {(JUNE, None)}


def test_the_shrink_check_wants_a_fifth_and_more_than_a_hundred_or_an_empty_month() -> None:
    rows = [row(n, june(1), cpu_hours=1) for n in range(505)]
    book = booked(world(*rows))
    assert book.brakes(world(*rows[:404]), OPTIONS, june(30)) == set()  # 101 fewer are exactly a fifth
    assert book.brakes(world(*rows[:403]), OPTIONS, june(30)) == {JUNE}
    few = booked(world(*rows[:5]))
    assert few.brakes(world(rows[0]), OPTIONS, june(30)) == set()
    assert few.brakes(world(), OPTIONS, june(30)) == {JUNE}


# Laws, and the worlds themselves

slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(st.one_of(cases("A"), cases("B")), st.data())
def test_the_oracle_keeps_its_own_invariants_on_generated_worlds(case: Case, data: st.DataObject) -> None:
    book, state = Book(), case.world
    for day in case.days:
        try:
            book.run(state, case.options, day)
        except ClosedMonthError:
            continue
        covered = {month for month in book.months if month in {one.day.replace(day=1) for one in book.priced.values()}}
        for month in covered:
            assert len({total_of(table, month) for table in (book.user_monthly, book.cluster_daily)}) == 1
            assert total_of(book.cluster_monthly, month) == book.months[month].total_cost
        assert not book.priced.keys() & book.rejects.keys()
        state = run_again_changes_nothing(book, case, state)
        state = data.draw(edits(state, case.shape, case.season))


def total_of(table: Any, month: date) -> Decimal:
    found = (figures["total_cost"] for key, figures in table.items() if key[0].replace(day=1) == month)
    return sum(found, D(0))


def run_again_changes_nothing(book: Book, case: Case, state: World) -> World:
    """Law 2; unless the run has just closed the month of its own last day."""
    written, users, months = book.written(state), dict(book.user_monthly), dict(book.months)
    assert book.last_day is not None
    if not book.months[book.last_day.replace(day=1)].closed:
        book.run(written, case.options, book.last_day)
        assert (book.user_monthly, book.months) == (users, months)
        assert book.written(written) is not written
        assert repr(book.written(written)) == repr(written)
    return written


def test_a_configuration_is_written_as_the_settings_read_it(tmp_path: Path) -> None:
    path = write_config(tmp_path, replace(OPTIONS, start=JUNE, tiers="month"))
    found = tomllib.loads(path.read_text())
    assert (found["tiers"], found["start"], found["max_quantity"]) == ("month", "2024-06", "100000000")
    assert found["meters"]["storage_gb"] == {"column": "storage_gb", "kind": "level", "optional": False}
    lines = list(csv.reader((tmp_path / found["rates"]).read_text().splitlines()))
    assert lines[0] == ["meter", "effective_from", "tier_from", "price", "per", "reference"]
    assert lines[3] == ["storage_gb", "2020-01-01", "10", "0.10", "1", "test"]

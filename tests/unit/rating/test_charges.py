"""Charges of rows, whatever else is priced with them."""

from datetime import date
from fractions import Fraction

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.domain.billing_periods import first_of, last_of
from jobs.domain.fixed_point import ONE
from jobs.domain.meters import Meter
from jobs.domain.rate_card import parse
from jobs.domain.rules import PricingTerms
from jobs.domain.schemas import usage_schema
from jobs.rating.charges import DISCOUNT, ID, PRICE, add_charges, sort_rows
from jobs.rating.price_breakdown import price_breakdown

CALLS = Meter("calls", "calls", "flow", "calls", False, ("calls",))
TIERS = parse(
    "meter,effective_from,tier_from,price,per,reference\ncalls,2020-01-01,0,0,1,r\ncalls,2020-01-01,5,2,1,r\n",
    "rates.csv",
    ["calls"],
)
STORAGE = Meter("storage_gb", "storage_gb", "level", "GB", False, ("storage_gb",))
CARD = parse(
    "meter,effective_from,tier_from,price,per,reference\nstorage_gb,2020-01-01,0,0.10,1,r\n",
    "rates.csv",
    ["storage_gb"],
)


def charge(day: date, first: date, last: date) -> int:
    """The charge of a GB stored on a day, in units of 10^-10, by the terms of a run of these days."""
    terms = PricingTerms((STORAGE,), CARD, first, last, "day", frozenset())
    row = {"id": 1, "user_id": "ada", "date": day, "storage_gb": ONE}
    return charged(pl.LazyFrame([row], schema=usage_schema(["storage_gb"])), terms)


def charged(usage: pl.LazyFrame, terms: PricingTerms, **override: int | None) -> int:
    rows = sort_rows(usage).with_columns(pl.lit(value, pl.Int64).alias(name) for name, value in override.items())
    found: int = add_charges(rows, terms).collect()["storage_gb_cost"].item()
    return found


@given(st.tuples(*[st.dates(date(2020, 1, 1), date(2030, 12, 31))] * 3))
@example((date(2025, 6, 1), date(2026, 2, 3), date(2026, 6, 30)))
def test_the_days_that_a_run_covers_besides_do_not_change_a_charge(days: tuple[date, date, date]) -> None:
    first, day, last = sorted(days)
    assert charge(day, first, last) == charge(day, first_of(day), last_of(day))


@given(st.integers(0, 9 * ONE), st.none() | st.integers(0, 100))
def test_beside_a_price_of_ones_own_a_discount_counts_for_nothing(price: int, discount: int | None) -> None:
    day = date(2026, 6, 1)
    terms = PricingTerms((STORAGE,), CARD, day, last_of(day), "day", frozenset({"storage_gb"}))
    row = {"id": 1, "user_id": "ada", "date": day, "storage_gb": 30 * ONE}
    usage = pl.LazyFrame([row], schema=usage_schema(["storage_gb"]))
    override = {PRICE + "storage_gb": price, DISCOUNT + "storage_gb": None if discount is None else discount * ONE}
    assert charged(usage, terms, **override) == price


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5))
@example([4, 4])
def test_tiers_run_over_all_rows_of_a_user_and_day(calls: list[int]) -> None:
    """Five calls a day cost nothing, each further one 2."""
    day = date(2026, 6, 1)
    terms = PricingTerms((CALLS,), TIERS, day, last_of(day), "day", frozenset())
    rows = [{"id": n, "user_id": "ada", "date": day, "calls": number * ONE} for n, number in enumerate(calls)]
    ordered = sort_rows(pl.LazyFrame(rows, schema=usage_schema(["calls"]))).collect()
    found = add_charges(ordered.lazy(), terms).collect()
    assert found["calls_cost"].sum() == 2 * max(0, sum(calls) - 5) * ONE


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 40 * ONE), min_size=1, max_size=4),
    st.lists(st.integers(1, 999), min_size=3, max_size=3),
    st.sampled_from([1, 1000]),
    st.none() | st.integers(0, 100 * ONE),
)
@example([31 * ONE], [1, 2, 3], 1000, 33 * ONE)
def test_charges_of_tiers_add_up_to_the_charge_of_the_meter(
    held: list[int], prices: list[int], per: int, discount: int | None
) -> None:
    """Each is the difference of the exact running charge of its row before and after it, both rounded half to even."""
    day, starts = date(2026, 6, 1), (0, 10, 20)
    lines = [f"storage_gb,2020-01-01,{tier},0.{price:03},{per},r\n" for tier, price in zip(starts, prices, strict=True)]
    card = parse(f"meter,effective_from,tier_from,price,per,reference\n{''.join(lines)}", "rates.csv", ["storage_gb"])
    terms = PricingTerms((STORAGE,), card, day, last_of(day), "day", frozenset({"storage_gb"}))
    rows = [{"id": n, "user_id": "ada", "date": day, "storage_gb": quantity} for n, quantity in enumerate(held)]
    overrides = {PRICE: pl.lit(None, pl.Int64), DISCOUNT: pl.lit(discount, pl.Int64), ID: pl.lit("9")}
    ordered = sort_rows(pl.LazyFrame(rows, schema=usage_schema(["storage_gb"]))).with_columns(
        value.alias(f"{name}storage_gb") for name, value in overrides.items()
    )
    pieces = price_breakdown(ordered, terms).collect()
    exact: dict[int, Fraction] = {}
    for piece in pieces.iter_rows(named=True):
        paid = 1 - Fraction(discount or 0, 100 * ONE)
        before = exact.get(piece["id"], Fraction(0))
        exact[piece["id"]] = before + Fraction(piece["quantity"] * piece["price"], ONE * per * 30) * paid
        assert piece["charge"] == round(exact[piece["id"]]) - round(before)
    charges = add_charges(ordered, terms).collect().select("id", "storage_gb_cost").rows()
    assert {id_: round(exact.get(id_, Fraction(0))) for id_, _ in charges} == dict(charges)


@given(st.integers(1, 9), st.lists(st.integers(1, 9), max_size=4, unique=True))
@example(3, [3])
def test_each_quantity_is_broken_down_by_the_card_of_its_day_alone(day: int, since: list[int]) -> None:
    lines = [f"calls,2026-06-0{first},0,{first},1,r\n" for first in sorted({1, *since})]
    card = parse(f"meter,effective_from,tier_from,price,per,reference\n{''.join(lines)}", "rates.csv", ["calls"])
    terms = PricingTerms((CALLS,), card, date(2026, 6, 1), date(2026, 6, 9), "day", frozenset())
    row = {"id": 1, "user_id": "ada", "date": date(2026, 6, day), "calls": 5}
    found = price_breakdown(sort_rows(pl.LazyFrame([row], schema=usage_schema(["calls"]))), terms)
    price = max(first for first in {1, *since} if first <= day)
    assert found.select("quantity", "price").collect().rows() == [(5, price * ONE)]

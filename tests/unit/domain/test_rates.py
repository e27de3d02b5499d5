"""The rate card: which prices hold on a day, and a digest that moves only with them.

Mistakes in the file are in ``tests/integration/test_bad_input.py``, as an operator meets them.
"""

from datetime import date
from decimal import Decimal

import pytest

from jobs.domain.errors import ConfigError
from jobs.domain.fixed_point import scaled, unscaled
from jobs.domain.rate_card import RateCard, parse

HEADER = "meter,effective_from,tier_from,price,per,reference\n"
CPU = """\
cpu_hours,2026-01-01,0,0.10,1,list
cpu_hours,2026-06-15,0,0.12,1,contract 7
cpu_hours,2026-06-15,100,0.09,1,contract 7
cpu_hours,2026-08-01,0,0.2,1,list
"""
JAN, MID_JUNE, AUG = date(2026, 1, 1), date(2026, 6, 15), date(2026, 8, 1)
JUNE = (date(2026, 6, 1), date(2026, 6, 30))


def card(lines: str = CPU) -> RateCard:
    return parse(HEADER + lines, "rates.csv", ["cpu_hours", "gpu_hours"])


@pytest.mark.parametrize(
    ("day", "since"),
    [
        (date(2025, 12, 31), None),
        (JAN, JAN),
        (date(2026, 6, 14), JAN),
        (MID_JUNE, MID_JUNE),
        (date(2026, 7, 31), MID_JUNE),
        (date(2030, 1, 1), AUG),
    ],
)
def test_the_newest_card_on_or_before_a_day_holds(day: date, since: date | None) -> None:
    held = card().on("cpu_hours", day)
    assert (held and held.effective_from) == since
    assert card().on("gpu_hours", day) is None


@pytest.mark.parametrize(
    ("first", "last", "since"),
    [
        (*JUNE, [JAN, MID_JUNE]),
        (MID_JUNE, MID_JUNE, [MID_JUNE]),
        (date(2026, 6, 14), MID_JUNE, [JAN, MID_JUNE]),
        (date(2025, 12, 1), JAN, [JAN]),
        (date(2025, 12, 1), date(2025, 12, 31), []),
        (date(2026, 7, 1), date(2027, 7, 1), [MID_JUNE, AUG]),
    ],
)
def test_the_cards_that_hold_on_some_day(first: date, last: date, since: list[date]) -> None:
    assert [held.effective_from for held in card().between("cpu_hours", first, last)] == since


def test_a_card_in_units() -> None:
    [_, held, _] = card().cards["cpu_hours"]
    assert (held.meter, held.per) == ("cpu_hours", 1)
    assert [(tier.start, tier.price, tier.reference, tier.line) for tier in held.tiers] == [
        (0, 1_200_000_000, "contract 7", 3),
        (10**12, 900_000_000, "contract 7", 4),
    ]
    assert [(tier.start, end) for tier, end in held.bounds()] == [(0, 10**12), (10**12, None)]


def test_the_order_of_cards_in_the_file_is_all_one() -> None:
    older, *newer = CPU.splitlines(keepends=True)
    assert card("".join([*newer, older])).digest(["cpu_hours"], *JUNE) == card().digest(["cpu_hours"], *JUNE)


def test_comments_blank_lines_and_spaces() -> None:
    loose = "# since 2026\n\ncpu_hours , 2026-01-01, 0, 0.10, 1, list\n"
    [held] = card(loose).cards["cpu_hours"]
    assert [(tier.price, tier.line) for tier in held.tiers] == [(10**9, 4)]


# The digest


def digest(lines: str = CPU, days: tuple[date, date] = JUNE, meters: tuple[str, ...] = ("cpu_hours",)) -> str:
    return card(lines).digest(meters, *days)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("contract 7", "contract 8"),
        ("2026-01-01,0,0.10", "2026-02-01,0,0.10"),  # older than the first day, either way
        ("2026-01-01,0,0.10", "2026-01-01,0.0,0.1000"),
        ("2026-08-01,0,0.2", "2026-08-01,0,0.3"),  # later than the last day
        ("cpu_hours,2026-08", "gpu_hours,2026-08"),
    ],
)
def test_what_prices_no_day_in_question_does_not_move_it(old: str, new: str) -> None:
    assert old in CPU
    assert digest(CPU.replace(old, new)) == digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.10", "0.11"),
        ("0.12", "0.1200000001"),
        ("2026-06-15", "2026-06-16"),
        ("15,100", "15,101"),
        ("cpu_hours,2026-06-15,100,0.09,1,contract 7\n", ""),
        (",1,", ",1000,"),
        ("cpu_hours", "gpu_hours"),
    ],
)
def test_what_prices_one_of_the_days_moves_it(old: str, new: str) -> None:
    assert digest(CPU.replace(old, new)) != digest()


def test_it_depends_on_the_days_and_the_meters() -> None:
    assert digest(days=(JUNE[0], date(2026, 6, 14))) != digest()
    assert digest(meters=("gpu_hours",)) != digest()
    both = CPU + CPU.replace("cpu", "gpu")
    assert digest(both, meters=("cpu_hours", "gpu_hours")) == digest(both, meters=("gpu_hours", "cpu_hours"))


def test_it_is_the_same_for_ever() -> None:
    assert digest() == "d2da0d257eebf76f"


# Amounts


@pytest.mark.parametrize(
    ("text", "units"),
    [("0", 0), ("0E-20", 0), ("0.0000000001", 1), ("1", 10**10), ("-2.5", -25 * 10**9), ("1e27", 10**37)],
)
def test_units_of_ten_places_and_back(text: str, units: int) -> None:
    assert scaled(Decimal(text)) == units
    assert unscaled(units) == Decimal(text)
    assert unscaled(units).as_tuple().exponent == -10


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NaN", "is not a finite number"),
        ("-Infinity", "is not a finite number"),
        ("0.00000000001", "has more than 10 decimals"),
        ("1.00000000001", "has more than 10 decimals"),
        ("1e-9999999", "has more than 10 decimals"),
        ("1e28", "is too large"),
        ("1e999999999", "is too large"),
    ],
)
def test_what_no_count_of_units_can_be(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scaled(Decimal(text))


def test_the_dearest_price_and_the_highest_tier_are_taken() -> None:
    [held] = card("cpu_hours,2026-01-01,0,10000000,1,\ncpu_hours,2026-01-01,1e15,0,1,\n").cards["cpu_hours"]
    assert [(tier.start, tier.price) for tier in held.tiers] == [(0, 10**17), (10**25, 0)]
    with pytest.raises(ConfigError, match=r"rates.csv line 2: price = '10000000.1': expected at most 10000000"):
        card("cpu_hours,2026-01-01,0,10000000.1,1,\n")

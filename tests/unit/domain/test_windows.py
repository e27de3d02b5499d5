"""Which days a run covers and which months it closes (manual: months and backfills)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import permutations

import pytest

from jobs.domain.billing_periods import (
    History,
    Window,
    cost_modes,
    days_in,
    last_of,
    next_month,
    nightly_window,
    previous_month,
)
from jobs.domain.errors import ConfigError

NOTHING = History(first_run_last_day=None, furthest=None, closed=frozenset())
APRIL, MAY, JUNE, JULY, AUGUST = (date(2026, month, 1) for month in range(4, 9))


def month(text: str) -> date:
    return date.fromisoformat(f"{text}-01")


def window(
    day: str | None, today: str = "2026-08-01", history: History = NOTHING, start: date | None = None, close: int = 3
) -> Window:
    return nightly_window(
        date.fromisoformat(day) if day else None,
        today=date.fromisoformat(today),
        history=history,
        start=start,
        close_after_days=close,
    )


@dataclass
class Book:
    """What runs leave behind, as far as windows depend on it."""

    history: History = NOTHING
    start: date | None = None

    def run(self, day: date) -> Window:
        found = window(str(day), "2027-12-31", self.history, self.start)
        closed = self.history.closed | found.closing
        self.history = replace(
            self.history, first_run_last_day=self.history.first_run_last_day or day, furthest=found.last, closed=closed
        )
        return found


def days(first: str, last: str) -> list[date]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


# Which months


def test_the_first_run_opens_the_month_before_its_own() -> None:
    found = window("2026-06-20")
    assert found.months == (MAY, JUNE)
    assert (found.first, found.last) == (MAY, date(2026, 6, 20))
    assert found.last_of(MAY) == date(2026, 5, 31)
    assert found.last_of(JUNE) == date(2026, 6, 20)


def test_without_a_day_it_is_yesterday() -> None:
    assert window(None, "2026-06-21") == window("2026-06-20", "2026-06-21")
    assert window(None, "2026-01-01").last == date(2025, 12, 31)


@pytest.mark.parametrize("start", ["2026-03-01", "2026-03-17"])
def test_start_opens_its_month(start: str) -> None:
    found = window("2026-06-20", start=date.fromisoformat(start))
    assert found.months == (month("2026-03"), APRIL, MAY, JUNE)


def test_later_runs_do_not_move_the_first_open_month() -> None:
    history = replace(NOTHING, first_run_last_day=date(2026, 6, 2), furthest=date(2026, 6, 2), closed=frozenset({MAY}))
    assert window("2026-07-01", history=history).months == (JUNE, JULY)


def test_an_outage_of_months_loses_no_day() -> None:
    book = Book()
    assert book.run(date(2026, 6, 10)).months == (MAY, JUNE)
    found = book.run(date(2027, 2, 20))
    assert found.months == tuple(month(text) for text in (
        "2026-06", "2026-07", "2026-08", "2026-09", "2026-10", "2026-11", "2026-12", "2027-01", "2027-02"
    ))  # fmt: skip
    assert found.closing == set(found.months[:-1]), "each covered whole once more, and closed"
    assert found.spans() == [(JUNE, date(2027, 2, 20))]


# The last day


def test_a_run_never_uncounts_a_day() -> None:
    history = replace(NOTHING, first_run_last_day=date(2026, 6, 20), furthest=date(2026, 6, 20))
    assert window("2026-06-05", history=history).last == date(2026, 6, 20)
    assert window("2026-06-25", history=history).last == date(2026, 6, 25)


@pytest.mark.parametrize("day", ["2026-06-21", "2026-06-22", "2030-01-01"])
def test_a_day_that_is_not_over(day: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"--date {day}: expected yesterday \(2026-06-20 UTC\) or earlier"
    ) as refused:
        window(day, today="2026-06-21")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("day", "why"),
    [
        ("2026-06-30", "closed by an earlier run"),
        ("2026-05-01", "before the first open month, 2026-06"),
        ("2025-06-20", "before the first open month, 2026-06"),
    ],
)
def test_a_day_in_a_closed_month(day: str, why: str) -> None:
    history = History(date(2026, 7, 5), date(2026, 7, 5), frozenset({JUNE}))
    with pytest.raises(ConfigError, match=rf"--date {day}: {day[:7]} is closed \({why}\).*usage-jobs backfill"):
        window(day, history=history)


# Closing


@pytest.mark.parametrize(
    ("day", "close", "closing"),
    [
        ("2026-07-02", 3, {MAY}),
        ("2026-07-03", 3, {MAY, JUNE}),  # as-of 4 July
        ("2026-07-20", 3, {MAY, JUNE}),
        ("2026-06-29", 0, {MAY}),
        ("2026-06-30", 0, {MAY, JUNE}),  # as-of 1 July
        ("2026-07-30", 31, {MAY}),
        ("2026-07-31", 31, {MAY, JUNE}),
    ],
)
def test_a_month_closes_so_many_days_into_the_next(day: str, close: int, closing: set[date]) -> None:
    assert window(day, start=MAY, close=close).closing == closing


def test_a_month_closes_once() -> None:
    book = Book(start=JUNE)
    closings = [book.run(day).closing for day in days("2026-06-28", "2026-08-06")]
    assert [set(closing) for closing in closings if closing] == [{JUNE}, {JULY}]
    assert book.history.closed == {JUNE, JULY}


def test_a_closed_month_in_between_is_left_out() -> None:
    history = History(date(2026, 4, 20), date(2026, 7, 1), frozenset({MAY}))
    found = window("2026-07-02", history=history, start=APRIL)
    assert found.months == (APRIL, JUNE, JULY)
    assert found.spans() == [(APRIL, date(2026, 4, 30)), (JUNE, date(2026, 7, 2))]


# The order of runs


def covered(book: Book, order: Iterable[date]) -> tuple[set[date], frozenset[date]]:
    """Every day that the runs have covered, and the months that they closed."""
    found = set()
    for day in order:
        for first, last in book.run(day).spans():
            found |= set(days(str(first), str(last)))
    return found, book.history.closed


@pytest.mark.parametrize("skipped", [1, 2, 9, 70])
def test_nights_that_fall_out_change_nothing(skipped: int) -> None:
    every = days("2026-06-10", "2026-08-20")
    some = [*every[:: skipped + 1], every[-1]]
    assert covered(Book(start=MAY), every) == covered(Book(start=MAY), some)
    assert covered(Book(start=MAY), every) == (set(days("2026-05-01", "2026-08-20")), frozenset({MAY, JUNE, JULY}))


@pytest.mark.parametrize("order", list(permutations(days("2026-06-27", "2026-06-30"))))
def test_the_order_of_runs_within_open_months_is_all_one(order: Sequence[date]) -> None:
    assert covered(Book(start=JUNE), order) == (set(days("2026-06-01", "2026-06-30")), frozenset())


def test_the_same_day_again_is_the_same_window_without_what_it_closed() -> None:
    book = Book(start=JUNE)
    first, again = book.run(date(2026, 7, 3)), book.run(date(2026, 7, 3))
    assert first == Window((JUNE, JULY), date(2026, 7, 3), closing=frozenset({JUNE}))
    assert again == Window((JULY,), date(2026, 7, 3), closing=frozenset())


# Cost modes


def test_a_month_keeps_the_mode_of_its_first_run() -> None:
    modes, notes = cost_modes((MAY, JUNE), {MAY: "recorded"}, "rated")
    assert modes == {MAY: "recorded", JUNE: "rated"}
    assert notes == [
        "2026-05 keeps cost = 'recorded', the mode of its first run; the setting 'rated' holds from the first month "
        "not yet covered"
    ]
    assert cost_modes((JUNE,), {MAY: "recorded"}, "rated") == ({JUNE: "rated"}, [])


# The calendar


@pytest.mark.parametrize(
    ("text", "length"), [("2026-02", 28), ("2024-02", 29), ("1900-02", 28), ("2000-02", 29), ("2026-12", 31)]
)
def test_months(text: str, length: int) -> None:
    first = month(text)
    assert days_in(first) == length
    assert last_of(first) == first + timedelta(days=length - 1)
    assert next_month(first) == last_of(first) + timedelta(days=1)
    assert previous_month(next_month(first)) == first

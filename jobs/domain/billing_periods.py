"""Which days a run covers, and which months it closes. Pure: the current day is an argument."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from jobs.domain.errors import ConfigError


def first_of(day: date) -> date:
    """The first day of the month of ``day``. A month is always represented by its first day."""
    return day.replace(day=1)


def next_month(month: date) -> date:
    return first_of(month + timedelta(days=31))


def previous_month(month: date) -> date:
    return first_of(month - timedelta(days=1))


def days_in(month: date) -> int:
    return (next_month(month) - month).days


def last_of(month: date) -> date:
    return next_month(month) - timedelta(days=1)


def month_spans(months: Iterable[date]) -> list[tuple[date, date]]:
    """The first and the last day of each of ``months``."""
    return [(month, last_of(month)) for month in months]


@dataclass(frozen=True, slots=True)
class History:
    """What earlier runs have recorded: the last day that the first run has covered, the furthest day that any run has
    written, the closed months."""

    first_run_last_day: date | None
    furthest: date | None
    closed: frozenset[date]


@dataclass(frozen=True, slots=True)
class Window:
    """The days that a run covers: ``months`` in full, except that the last one ends with the day ``last``.

    ``closing``: the months that this run closes. ``closed``: the months that were closed before; a
    nightly run has none.
    """

    months: tuple[date, ...]
    last: date
    closing: frozenset[date]
    closed: frozenset[date] = frozenset()

    @property
    def first(self) -> date:
        return self.months[0]

    def last_of(self, month: date) -> date:
        """The last day of ``month`` that the run covers."""
        return min(last_of(month), self.last)

    @property
    def days(self) -> list[date]:
        """Every covered day."""
        return [first + timedelta(days=n) for first, last in self.spans() for n in range((last - first).days + 1)]

    @property
    def open(self) -> tuple[date, ...]:
        """The months of the common draw window."""
        return tuple(month for month in self.months if month not in self.closed)

    @property
    def debt_months(self) -> frozenset[date]:
        """The months whose debts the run computes anew: the uncovered cost of closed and closing months is owed."""
        return self.closing | self.closed

    @property
    def draw_windows(self) -> list[tuple[date, ...]]:
        """The draw windows, in the order of their allocation: each closed month alone, then all open months."""
        return [*((month,) for month in sorted(self.closed)), *([self.open] if self.open else [])]

    def spans(self) -> list[tuple[date, date]]:
        """The days of the window as (first, last) pairs, one for each series of consecutive months."""
        return self.spans_of(self.months)

    def spans_of(self, months: Sequence[date]) -> list[tuple[date, date]]:
        """The days of ``months`` (oldest first) as (first, last) pairs, as in ``spans``."""
        spans: list[tuple[date, date]] = []
        for month in months:
            if spans and spans[-1][1] + timedelta(days=1) == month:
                spans[-1] = (spans[-1][0], self.last_of(month))
            else:
                spans.append((month, self.last_of(month)))
        return spans


def first_open_month(history: History, start: date | None, day: date) -> date:
    """The earliest month that a nightly run may rate; the months before it count as closed.

    It is the month of the setting ``start``. Without that setting it is the month before the first run; ``day`` is used
    as the day of the first run when there was none yet.
    """
    return first_of(start) if start else previous_month(first_of(history.first_run_last_day or day))


def is_closed(month: date, history: History, first_open: date) -> bool:
    """Whether only a backfill may rate ``month`` again: a nightly run only settles its debts.

    ``first_open``: the result of ``first_open_month``.
    """
    return month in history.closed or month < first_open


def nightly_window(
    day: date | None, *, today: date, history: History, start: date | None, close_after_days: int
) -> Window:
    """The window of `run --date day` (default: yesterday): every open month, up to ``day`` or the last covered day.

    Raises ConfigError for a day after yesterday or in a closed month.
    """
    last = _require_past("--date", day or today - timedelta(days=1), today)
    month, first_open = first_of(last), first_open_month(history, start, last)
    if is_closed(month, history, first_open):
        is_closed_by_run = month in history.closed
        why = "closed by an earlier run" if is_closed_by_run else f"before the first open month, {first_open:%Y-%m}"
        raise ConfigError(
            f"--date {last}: {month:%Y-%m} is closed ({why}); a nightly run does not rate a closed month. "
            "Correct it with: usage-jobs backfill --from DAY --to DAY --reason TEXT"
        )
    return _open_window(first_open, max(last, history.furthest or last), history, close_after_days)


def backfill_window(
    since: date, until: date, *, today: date, history: History, start: date | None, close_after_days: int
) -> Window:
    """The window of `backfill --from since --to until`: the whole months of these days, up to yesterday.

    If one of these months is open, the window has all open months. Raises ConfigError for a day after yesterday, and
    for ``until`` before ``since``.
    """
    yesterday = today - timedelta(days=1)
    if _require_past("--to", until, today) < since:
        raise ConfigError(f"--to {until}: expected a day on or after --from {since}")
    first_open = first_open_month(history, start, yesterday)
    touched = months_of(since, until)
    closed = frozenset(month for month in touched if is_closed(month, history, first_open))
    if len(closed) == len(touched):
        return Window(tuple(touched), min(last_of(touched[-1]), yesterday), frozenset(), closed)
    open_months = _open_window(first_open, yesterday, history, close_after_days)
    return Window(tuple(sorted(closed.union(open_months.months))), open_months.last, open_months.closing, closed)


def months_of(since: date, until: date) -> list[date]:
    """Every month from the month of ``since`` to the month of ``until``."""
    months = [first_of(since)]
    while next_month(months[-1]) <= until:
        months.append(next_month(months[-1]))
    return months


def _require_past(option: str, day: date, today: date) -> date:
    """``day``, if it is before ``today``. Raises ConfigError naming ``option`` otherwise."""
    yesterday = today - timedelta(days=1)
    if day > yesterday:
        raise ConfigError(
            f"{option} {day}: expected yesterday ({yesterday} UTC) or earlier: usage of a day is complete "
            "only when the day is over"
        )
    return day


def _open_window(first_open: date, last: date, history: History, close_after_days: int) -> Window:
    """The window of every open month from ``first_open`` to the day ``last``."""
    months = tuple(month for month in months_of(first_open, last) if month not in history.closed)
    as_of = last + timedelta(days=1)
    closing = frozenset(m for m in months if next_month(m) + timedelta(days=close_after_days) <= as_of)
    return Window(months, last, closing)


def cost_modes(months: tuple[date, ...], stored: Mapping[date, str], setting: str) -> tuple[dict[date, str], list[str]]:
    """The cost mode of each month, and notes for the user about months whose mode is not ``setting``.

    A month has the mode that its first run has ``stored``; a month without one gets ``setting``.
    """
    modes = {month: stored.get(month, setting) for month in months}
    notes = [
        f"{month:%Y-%m} keeps cost = {mode!r}, the mode of its first run; the setting {setting!r} holds from the "
        "first month not yet covered"
        for month, mode in modes.items()
        if mode != setting
    ]
    return modes, notes
